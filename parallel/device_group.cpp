#include "parallel/device_group.h"

#include "parallel/nccl_communicator.h"
#include "runtime/core/has_cuda.h"

namespace tessera::parallel {

std::unique_ptr<Communicator> device_group(std::unique_ptr<Communicator> host, Context& ctx,
                                           Stream& stream) {
  if constexpr (kHasCuda) {
    if (ctx.device().is_cuda()) {
      return std::make_unique<NcclCommunicator>(std::move(host), ctx.device(), stream);
    }
  }
  return host;
}

}  // namespace tessera::parallel
