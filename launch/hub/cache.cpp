#include "launch/hub/cache.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <thread>

#include "runtime/core/error.h"
#include "runtime/io/file.h"
#include "runtime/io/folder.h"

namespace tessera::launch {
namespace {

namespace fs = std::filesystem;

constexpr size_t kLargestRef = 1000;
constexpr size_t kLargestListing = 64 << 20;
constexpr auto kPause = std::chrono::milliseconds(200);
/// The lists of this program lie in a folder of their own: one in trees/ tells huggingface_hub that
/// a snapshot without all of its files is damaged, and a model is fetched without all of them.
constexpr const char* kListings = "/.tessera/";
constexpr const char* kPythonListings = "/trees/";

std::string folder_name(const HubName& name) {
  std::string text = name.kind == HubKind::kModel ? "models--" : "datasets--";
  for (const char c : name.id) text += c == '/' ? std::string("--") : std::string(1, c);
  return text;
}

/// The size of the regular file that the path leads to.
std::optional<uint64_t> size_at(const std::string& path) {
  struct stat status;
  if (::stat(path.c_str(), &status) != 0 || !S_ISREG(status.st_mode)) return {};
  return uint64_t(status.st_size);
}

bool has_size(const std::string& path, const std::optional<uint64_t>& size) {
  const auto found = size_at(path);
  return found && (!size || *found == *size);
}

void make_folder_of(const std::string& path) { io::make_folders(fs::path(path).parent_path()); }

void collect(const std::string& folder, const std::string& prefix, std::vector<HubFile>& files) {
  for (const std::string& name : io::names_in(folder)) {
    const std::string path = folder + "/" + name;
    if (size_at(path)) files.push_back({prefix + name});
    struct stat status;
    const bool is_folder = ::lstat(path.c_str(), &status) == 0 && S_ISDIR(status.st_mode);
    if (is_folder) collect(path, prefix + name + "/", files);
  }
}

std::string this_process() {
  char host[256] = "";
  ::gethostname(host, sizeof host - 1);
  return fmt::format("process {} on {}", ::getpid(), host);
}

}  // namespace

CachedRepository::CachedRepository(const std::string& cache, const HubName& name)
    : name_(folder_name(name)), cache_(cache), folder_(cache + "/" + name_) {}

std::string CachedRepository::snapshot(const std::string& commit) const {
  return folder_ + "/snapshots/" + commit;
}

std::string CachedRepository::blob(const std::string& name) const {
  return folder_ + "/blobs/" + name;
}

std::string CachedRepository::partial_blob(const std::string& name) const {
  return blob(name) + ".incomplete";
}

std::optional<std::string> CachedRepository::commit_of(const std::string& revision) const {
  if (is_commit(revision)) return revision;
  const std::string path = folder_ + "/refs/" + revision;
  if (!size_at(path)) return {};
  std::string commit = io::read_file(path, kLargestRef);
  while (!commit.empty() && (commit.back() == '\n' || commit.back() == ' ')) commit.pop_back();
  if (!is_commit(commit)) return {};
  return commit;
}

void CachedRepository::write_ref(const std::string& revision, const std::string& commit) const {
  if (commit_of(revision) == commit) return;  // the cache may be another user's
  const std::string path = folder_ + "/refs/" + revision;
  make_folder_of(path);
  io::write_file(path, commit);
}

std::optional<HubListing> CachedRepository::kept_listing(const std::string& commit) const {
  for (const char* place : {kListings, kPythonListings}) {
    const std::string path = folder_ + place + commit + ".json";
    if (!size_at(path)) continue;
    try {
      return parse_kept_listing(io::read_file(path, kLargestListing), path, commit);
    } catch (const Error&) {  // of a later version, or damaged: the hub will be asked again
    }
  }
  return {};
}

void CachedRepository::keep_listing(const HubListing& listing) const {
  const std::string path = folder_ + kListings + listing.commit + ".json";
  if (size_at(path)) return;
  make_folder_of(path);
  io::write_file(path, text_of_listing(listing));
}

HubListing CachedRepository::present_files(const std::string& commit) const {
  HubListing listing{commit, {}};
  if (io::is_folder(snapshot(commit))) collect(snapshot(commit), "", listing.files);
  return listing;
}

bool CachedRepository::has(const std::string& commit, const HubFile& file) const {
  return has_size(snapshot(commit) + "/" + file.name, file.size);
}

bool CachedRepository::has_blob(const HubFile& file) const {
  return has_size(blob(file.blob), file.size);
}

uint64_t CachedRepository::absent_bytes(const HubFile& file) const {
  if (has_blob(file)) return 0;
  const uint64_t there = size_at(partial_blob(file.blob)).value_or(0);
  return there > *file.size ? *file.size : *file.size - there;
}

void CachedRepository::link(const std::string& commit, const HubFile& file) const {
  const std::string path = snapshot(commit) + "/" + file.name;
  make_folder_of(path);
  std::string up = "../../";
  for (const char c : file.name) up += c == '/' ? "../" : "";
  // Under another name first: whoever looks meanwhile sees the old file or the new one.
  const std::string temporary = fmt::format("{}.{}.link", path, ::getpid());
  ::unlink(temporary.c_str());
  const std::string target = up + "blobs/" + file.blob;
  if (::symlink(target.c_str(), temporary.c_str()) == 0) {
    if (::rename(temporary.c_str(), path.c_str()) == 0) return;
    const int error = errno;
    ::unlink(temporary.c_str());
    fail("cannot make {}: {}", path, std::strerror(error));
  }
  if (errno != EPERM && errno != EOPNOTSUPP && errno != ENOSYS) {
    fail("cannot make {}: {}", path, std::strerror(errno));
  }
  // A file system without links: the content itself, as huggingface_hub has it there.
  if (::rename(blob(file.blob).c_str(), path.c_str()) != 0) {
    fail("cannot make {}: {}", path, std::strerror(errno));
  }
}

std::unique_ptr<io::LockFile> CachedRepository::lock(const std::string& part,
                                                     Console& console) const {
  const std::string path =
      fmt::format("{}/.locks/{}{}.lock", cache_, name_, part.empty() ? "" : "/" + part);
  make_folder_of(path);
  for (bool said = false;; said = true) {
    auto lock = std::make_unique<io::LockFile>(path);
    if (lock->state() != io::LockFile::State::kTaken) {
      lock->write_holder(this_process());
      return lock;
    }
    if (!said) {
      const std::string holder = lock->holder();
      console.line(fmt::format("waiting for {}, which fetches into {}",
                               holder.empty() ? "another process" : holder, folder_));
    }
    lock.reset();
    std::this_thread::sleep_for(kPause);
  }
}

}  // namespace tessera::launch
