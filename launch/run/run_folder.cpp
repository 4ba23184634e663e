#include "launch/run/run_folder.h"

#include <unistd.h>

#include <filesystem>

#include "launch/machine/agreement.h"
#include "launch/report/run_files.h"
#include "launch/run/checkpoint.h"
#include "lora/adapter/peft.h"
#include "runtime/core/error.h"
#include "runtime/io/file.h"
#include "runtime/io/folder.h"
#include "runtime/io/json.h"

namespace tessera::launch {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

bool holds_run(const fs::path& dir) {
  return io::exists(dir / lora::kPeftWeightsFile) || io::exists(dir / kMetricsFile) ||
         io::exists(dir / kSearchFolder) || !CheckpointStore(dir.string(), 1).steps().empty();
}

/// "process 4711 on node3"
std::string this_process() {
  char host[256] = {};
  if (::gethostname(host, sizeof host - 1) != 0) host[0] = '\0';
  return fmt::format("process {}{}{}", ::getpid(), host[0] ? " on " : "", host);
}

/// Fails now rather than after an hour.
void require_writable(const std::string& folder) {
  const std::string probe = folder + "/.writable";
  io::write_file(probe, "");
  io::remove_all(probe);
}

}  // namespace

RunFolder::RunFolder(const Config& config, parallel::Communicator& world, Console& console)
    : config_(config), world_(world) {
  on_first_rank([&] { prepare(console); });
}

void RunFolder::on_first_rank(FunctionRef<void()> work) const {
  all_or_none(world_, [&] {
    if (world_.rank() == 0) work();
  });
}

void RunFolder::prepare(Console& console) {
  const std::string& dir = config_.output_dir;
  if (io::exists(dir) && !io::is_folder(dir)) {
    fail_usage("output_dir {} is a file, not a folder", dir);
  }
  std::error_code error;
  fs::create_directories(dir, error);
  if (error) fail("cannot create output_dir {}: {}", dir, error.message());
  take_lock(console);
  if (holds_run(dir) && !config_.resume_from_checkpoint && !config_.overwrite_output_dir) {
    fail_usage(
        "output_dir {} already holds a run: add resume_from_checkpoint=auto to go on with it, or "
        "overwrite_output_dir=true to replace it",
        dir);
  }
  require_writable(dir);
  if (config_.logging_dir) {
    try {
      io::make_folders(*config_.logging_dir);
      require_writable(*config_.logging_dir);
    } catch (const Error& error) {
      fail("logging_dir: {}", error.what());
    }
  }
}

void RunFolder::take_lock(Console& console) {
  const std::string& dir = config_.output_dir;
  lock_.emplace(dir + "/run.lock");
  switch (lock_->state()) {
    case io::LockFile::State::kHeld:
      lock_->write_holder(this_process() + "\n");
      return;
    case io::LockFile::State::kTaken: {
      const std::string holder = lock_->holder();
      fail_usage(
          "output_dir {} belongs to a run that is still going{}: wait until it has ended or stop "
          "it, or choose another output_dir",
          dir, holder.empty() ? "" : fmt::format(" ({})", holder));
    }
    case io::LockFile::State::kUnsupported:
      console.line(fmt::format(
          "warning: the file system of output_dir {} has no locks; a second run in it would not be "
          "refused",
          dir));
      return;
  }
}

bool RunFolder::finished(int64_t step) const {
  int found = 0;
  on_first_rank([&] { found = holds_finished(step) ? 1 : 0; });
  return parallel::gather_values(world_, found).front() == 1;
}

bool RunFolder::holds_finished(int64_t step) const {
  const fs::path dir = config_.output_dir;
  for (const std::string_view name : {lora::kPeftConfigFile, lora::kPeftWeightsFile, kStateFile}) {
    if (!io::exists(dir / name)) return false;
  }
  try {
    return io::read_json_file((dir / kStateFile).string(), kMaxStateBytes) ==
           json({{"step", step}, {"finished", true}});
  } catch (const Error&) {
    return false;  // a damaged one, which the resumed run writes anew
  }
}

void RunFolder::begin(const Config& resolved, const TokenizerFiles& tokenizer, int64_t step) {
  on_first_rank([&] {
    if (resolved.overwrite_output_dir && !resolved.resume_from_checkpoint) remove_older_run();
    write_state(step, false);
    write_start(resolved, tokenizer);
    record_.started = utc_time();
    write_record();
  });
}

void RunFolder::clear() const {
  on_first_rank([&] { remove_older_run(); });
}

void RunFolder::remove_older_run() const {
  const fs::path dir = config_.output_dir;
  CheckpointStore(dir.string(), 1).clear();
  for (const std::string_view name : {lora::kPeftConfigFile, lora::kPeftWeightsFile, kMetricsFile,
                                      kSamplesFile, kRunRecordFile, kStateFile, kSearchFolder}) {
    io::remove_all(dir / name);
  }
}

void RunFolder::write_start(const Config& resolved, const TokenizerFiles& tokenizer) const {
  const fs::path dir = config_.output_dir;
  io::write_file((dir / kResolvedConfigFile).string(), dump_config(resolved));
  for (const auto& [name, content] : tokenizer) io::write_file((dir / name).string(), content);
}

void RunFolder::end(int64_t step, bool finished) {
  on_first_rank([&] {
    record_.ended = utc_time();
    write_record();
    write_state(step, finished);
  });
}

void RunFolder::write_record() const {
  io::write_file((fs::path(config_.output_dir) / kRunRecordFile).string(),
                 run_record_json(record_));
}

void RunFolder::write_state(int64_t step, bool finished) const {
  const json state = {{"step", step}, {"finished", finished}};
  io::write_file((fs::path(config_.output_dir) / kStateFile).string(), state.dump(2) + "\n");
}

}  // namespace tessera::launch
