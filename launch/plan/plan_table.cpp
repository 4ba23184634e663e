#include "launch/plan/plan_table.h"

#include "launch/console/progress.h"

namespace tessera::launch {

std::vector<std::string> plan_table(const Plan& plan, const PlanInput& input) {
  const RankMemory& m = plan.memory;
  std::vector<std::pair<std::string, size_t>> cells;
  for (const MemoryRow& row : memory_rows()) {
    const size_t bytes = m.*row.bytes;
    if (bytes == 0) continue;
    std::string name(row.name);
    if (row.where == MemoryRow::Where::kHost && input.gpu) name += " (host)";
    if (row.where == MemoryRow::Where::kDisk) name += " (disk)";
    cells.emplace_back(std::move(name), bytes);
  }
  const std::string total = format_bytes(int64_t(m.budgeted(input.gpu.has_value())));
  std::vector<std::string> lines = {"memory   " + total};
  if (input.gpu) lines[0] += " on the GPU";
  if (input.ranks() > 1) {
    lines[0] +=
        fmt::format("{} rank {}, which holds most", input.gpu ? " of" : " on", plan.fullest);
  }
  if (input.gpu && m.host() > 0) {
    lines[0] += fmt::format("; {} of host memory", format_bytes(int64_t(m.host())));
  }
  if (!input.gpu && input.ranks() > 1) {
    lines[0] += fmt::format("; {} on its node", format_bytes(int64_t(plan.node)));
  }
  lines.push_back("         activations " + plan.describe_policies());
  const size_t half = (cells.size() + 1) / 2;
  for (size_t i = 0; i < half; ++i) {
    std::string line = "         ";
    for (size_t c = i; c < cells.size(); c += half) {
      line +=
          fmt::format("{:<26} {:>9}    ", cells[c].first, format_bytes(int64_t(cells[c].second)));
    }
    line.erase(line.find_last_not_of(' ') + 1);
    lines.push_back(line);
  }
  if (input.gpu) return lines;
  lines.push_back(fmt::format("         {:<26} {:>9}", "while loading",
                              format_bytes(int64_t(m.base + m.outer + m.host_base + m.loading))));
  return lines;
}

}  // namespace tessera::launch
