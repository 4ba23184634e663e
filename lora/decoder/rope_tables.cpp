#include "lora/decoder/rope_tables.h"

#include <algorithm>

#include "runtime/ops/transfer.h"

namespace tessera::lora {

using Kind = RopeScaling::Kind;

RopeTables::RopeTables(const ModelSpec& model) {
  for (const Rope& rope : model.ropes) tables_.push_back({.rope = rope});
}

bool RopeTables::Table::has_long_samples() const {
  return rope.scaling.depends_on_length() && positions > rope.scaling.original_max_position;
}

size_t RopeTables::Table::bytes() const {
  return size_t((queries_grow() ? 4 : 2) * rows() * rope.half()) * sizeof(float);
}

void RopeTables::Table::bind(std::byte* data, Device device) {
  const auto next = [&] {
    const Tensor t(data, DType::kF32, {rows(), rope.half()}, device);
    if (data) data += t.bytes();
    return t;
  };
  view.interleaved = rope.interleaved;
  view.query_cos = view.cos = next();
  view.query_sin = view.sin = next();
  if (!queries_grow()) return;
  view.query_cos = next();
  view.query_sin = next();
}

/// Rows [first_row, first_row + count) of all tables of the rule.
void RopeTables::Table::fill(Context& ctx, int64_t first_row, int64_t count,
                             const RopePositions& of) {
  Buffer made;
  if (ctx.device().is_cuda()) {
    made = Buffer::host(size_t(2 * count * rope.half()) * sizeof(float));
  }
  const auto fill_pair = [&](const Tensor& all_cos, const Tensor& all_sin, bool of_queries) {
    const RopePositions positions{of.length, of.first, of_queries};
    const Tensor cos = all_cos.slice(first_row, first_row + count);
    const Tensor sin = all_sin.slice(first_row, first_row + count);
    if (!ctx.device().is_cuda()) return rope_table(cos, sin, rope, positions);
    const Tensor c(made.data(), DType::kF32, {count, rope.half()});
    const Tensor s(made.data() + c.bytes(), DType::kF32, {count, rope.half()});
    rope_table(c, s, rope, positions);
    upload(ctx, cos.raw(), c.raw(), c.bytes());
    upload(ctx, sin.raw(), s.raw(), s.bytes());
  };
  fill_pair(view.cos, view.sin, false);
  if (queries_grow()) fill_pair(view.query_cos, view.query_sin, true);
}

void RopeTables::measure(Device device, int64_t positions) {
  for (Table& table : tables_) {
    const RopeScaling& scaling = table.rope.scaling;
    table.positions = positions;
    table.short_rows = positions;
    table.long_rows = 0;
    if (table.has_long_samples()) {
      table.short_rows = scaling.original_max_position;
      if (scaling.kind == Kind::kLongrope) table.long_rows = positions;
    }
    table.memory = Buffer();
    table.bind(nullptr, device);
  }
}

void RopeTables::allocate(Context& ctx) {
  for (Table& table : tables_) {
    table.memory = Buffer::on(ctx.device(), table.bytes());
    table.bind(table.memory.data(), ctx.device());
    table.fill(ctx, 0, table.short_rows, {.length = std::min(table.positions, table.short_rows)});
    if (table.long_rows > 0 && table.rope.scaling.kind == Kind::kLongrope) {
      table.fill(ctx, table.short_rows, table.long_rows, {.length = table.positions});
    }
  }
  ctx.compute_stream().synchronize();
}

size_t RopeTables::bytes() const {
  size_t bytes = 0;
  for (const Table& table : tables_) bytes += table.bytes();
  return bytes;
}

std::vector<int32_t> RopeTables::rows_of(Context& ctx, Table& table, const BatchView& batch) {
  const RopeScaling& scaling = table.rope.scaling;
  std::vector<int32_t> rows(batch.positions.begin(), batch.positions.end());
  auto next = int32_t(table.short_rows);  // of dynamic
  for (size_t s = 0; s + 1 < batch.starts.size(); ++s) {
    const int64_t length = batch.length_of(s);
    if (length <= scaling.original_max_position) continue;
    const int32_t begin = batch.starts[s], end = batch.starts[s + 1];
    if (scaling.kind == Kind::kLongrope) {
      for (int32_t i = begin; i < end; ++i) rows[size_t(i)] += int32_t(table.short_rows);
      continue;
    }
    TESSERA_CHECK(next + end - begin <= table.rows());
    if (begin < end) {
      table.fill(ctx, next, end - begin, {.length = length, .first = rows[size_t(begin)]});
    }
    for (int32_t i = begin; i < end; ++i) rows[size_t(i)] = next++;
  }
  return rows;
}

PlacedRopes RopeTables::place(Context& ctx, Arena& arena, const BatchView& batch,
                              Tensor positions) {
  PlacedRopes placed;
  for (Table& table : tables_) {
    RopeRows rule = table.view;
    rule.rows = positions;
    if (table.has_long_samples() && ctx.measuring()) {
      if (table.rope.scaling.kind == Kind::kDynamic) {
        table.long_rows = std::max(table.long_rows, batch.tokens());
        table.bind(nullptr, ctx.device());
      }
      rule.rows = to_device(ctx, arena, batch.positions);
    } else if (table.has_long_samples()) {
      placed.lists.push_back(rows_of(ctx, table, batch));
      rule.rows = to_device(ctx, arena, placed.lists.back());
    }
    placed.rules.push_back(rule);
  }
  return placed;
}

}  // namespace tessera::lora
