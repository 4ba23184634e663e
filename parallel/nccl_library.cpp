#include "parallel/nccl_library.h"

#include "runtime/core/error.h"
#include "runtime/core/shared_library.h"

namespace tessera::parallel {

namespace {

constexpr int kOldestVersion = NCCL_VERSION(2, 18, 0);

SharedLibrary open_library() {
  try {
    return SharedLibrary("libnccl.so.2", "ncclGetVersion");
  } catch (const Error& error) {
    fail("several GPUs need NCCL, which cannot be opened: {}", error.what());
  }
}

NcclLibrary load() {
  const SharedLibrary library = open_library();
  NcclLibrary all;
  library.find(all.GetVersion, "ncclGetVersion");
  int version = 0;
  all.GetVersion(&version);
  if (version < kOldestVersion) {
    fail("NCCL {} ({}) is too old: 2.18 or later is needed", version, library.place());
  }
  library.find(all.GetUniqueId, "ncclGetUniqueId");
  library.find(all.GetErrorString, "ncclGetErrorString");
  library.find(all.GetLastError, "ncclGetLastError");
  library.find(all.CommInitRankConfig, "ncclCommInitRankConfig");
  library.find(all.CommGetAsyncError, "ncclCommGetAsyncError");
  library.find(all.CommFinalize, "ncclCommFinalize");
  library.find(all.CommDestroy, "ncclCommDestroy");
  library.find(all.CommAbort, "ncclCommAbort");
  library.find(all.GroupStart, "ncclGroupStart");
  library.find(all.GroupEnd, "ncclGroupEnd");
  library.find(all.Broadcast, "ncclBroadcast");
  library.find(all.AllGather, "ncclAllGather");
  library.find(all.AllReduce, "ncclAllReduce");
  library.find(all.Send, "ncclSend");
  library.find(all.Recv, "ncclRecv");
  all.place = library.place();
  return all;
}

}  // namespace

const NcclLibrary& nccl() {
  static const NcclLibrary library = load();
  return library;
}

}  // namespace tessera::parallel
