// What a context of a GPU keeps between operators.
#pragma once

#include <memory>

#include "runtime/core/context.h"
#include "runtime/cuda/uploads.h"

namespace tessera::cuda {

struct Backend {
  explicit Backend(Context& ctx) : uploads(ctx.device(), ctx.compute_stream()) {}

  std::shared_ptr<void> gemms;  // gemm.cpp's: the handle and plans
  Uploads uploads;
};

inline Backend& backend_of(Context& ctx) {
  if (!ctx.backend()) ctx.backend() = std::make_shared<Backend>(ctx);
  return *static_cast<Backend*>(ctx.backend().get());
}

}  // namespace tessera::cuda
