#include "runtime/cpu/thread_memory.h"

#include <algorithm>
#include <unordered_map>

#include "runtime/core/error.h"

namespace tessera::cpu {
namespace {

/// What a context of the CPU keeps between operators.
using Backend = std::unordered_map<std::type_index, std::vector<Buffer>>;

constexpr size_t kBeyond = 4096;  // vectors may read past the end

}  // namespace

const std::vector<Buffer>& thread_buffers(Context& ctx, std::type_index what, size_t bytes) {
  TESSERA_CHECK(!ctx.device().is_cuda());
  if (!ctx.backend()) ctx.backend() = std::make_shared<Backend>();
  std::vector<Buffer>& buffers = (*static_cast<Backend*>(ctx.backend().get()))[what];
  const size_t threads = size_t(std::max(1, ctx.threads()));
  while (buffers.size() < threads) buffers.push_back(Buffer::host(bytes + kBeyond));
  return buffers;
}

}  // namespace tessera::cpu
