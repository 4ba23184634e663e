#include "parallel/nccl_library.h"

#include <dlfcn.h>

#include <type_traits>

#include "runtime/core/error.h"

namespace tessera::parallel {

namespace {

constexpr int kOldestVersion = NCCL_VERSION(2, 18, 0);

void* open_library() {
  if (dlsym(RTLD_DEFAULT, "ncclGetVersion")) return RTLD_DEFAULT;
  for (const char* name : {"libnccl.so.2", TESSERA_NCCL_LIBRARY}) {
    if (void* library = dlopen(name, RTLD_NOW)) return library;
  }
  fail("several GPUs need NCCL, which cannot be loaded: {}", dlerror());
}

NcclLibrary load() {
  void* const library = open_library();
  NcclLibrary all;
  const auto find = [&](auto& function, const char* name) {
    function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(dlsym(library, name));
    if (!function) fail("this NCCL has no {}: 2.18 or later is needed", name);
  };
  find(all.GetVersion, "ncclGetVersion");
  int version = 0;
  all.GetVersion(&version);
  if (version < kOldestVersion) fail("NCCL {} is too old: 2.18 or later is needed", version);
  find(all.GetUniqueId, "ncclGetUniqueId");
  find(all.GetErrorString, "ncclGetErrorString");
  find(all.GetLastError, "ncclGetLastError");
  find(all.CommInitRankConfig, "ncclCommInitRankConfig");
  find(all.CommGetAsyncError, "ncclCommGetAsyncError");
  find(all.CommFinalize, "ncclCommFinalize");
  find(all.CommDestroy, "ncclCommDestroy");
  find(all.CommAbort, "ncclCommAbort");
  find(all.GroupStart, "ncclGroupStart");
  find(all.GroupEnd, "ncclGroupEnd");
  find(all.Broadcast, "ncclBroadcast");
  find(all.AllGather, "ncclAllGather");
  find(all.AllReduce, "ncclAllReduce");
  find(all.Send, "ncclSend");
  find(all.Recv, "ncclRecv");
  return all;
}

}  // namespace

const NcclLibrary& nccl() {
  static const NcclLibrary library = load();
  return library;
}

}  // namespace tessera::parallel
