#include "runtime/cuda/cublas_library.h"

#include "runtime/core/cuda_runtime.h"
#include "runtime/core/error.h"
#include "runtime/core/shared_library.h"

namespace tessera::cuda {
namespace {

CublasLibrary load() {
  const SharedLibrary library(fmt::format("libcublasLt.so.{}", CUBLAS_VER_MAJOR),
                              "cublasLtGetVersion");
  CublasLibrary all;
  library.find(all.GetVersion, "cublasLtGetVersion");
  library.find(all.GetStatusName, "cublasLtGetStatusName");
  library.find(all.GetStatusString, "cublasLtGetStatusString");
  library.find(all.Create, "cublasLtCreate");
  library.find(all.Destroy, "cublasLtDestroy");
  library.find(all.Matmul, "cublasLtMatmul");
  library.find(all.AlgoGetHeuristic, "cublasLtMatmulAlgoGetHeuristic");
  library.find(all.DescCreate, "cublasLtMatmulDescCreate");
  library.find(all.DescDestroy, "cublasLtMatmulDescDestroy");
  library.find(all.DescSetAttribute, "cublasLtMatmulDescSetAttribute");
  library.find(all.LayoutCreate, "cublasLtMatrixLayoutCreate");
  library.find(all.LayoutDestroy, "cublasLtMatrixLayoutDestroy");
  library.find(all.PreferenceCreate, "cublasLtMatmulPreferenceCreate");
  library.find(all.PreferenceDestroy, "cublasLtMatmulPreferenceDestroy");
  library.find(all.PreferenceSetAttribute, "cublasLtMatmulPreferenceSetAttribute");
  all.place = library.place();
  return all;
}

}  // namespace

const CublasLibrary& cublas() {
  static const CublasLibrary library = load();
  return library;
}

std::string describe_cublas() {
  const size_t v = cublas().GetVersion();
  return fmt::format("cuBLASLt {}.{}.{} of {}", v / 10000, v / 100 % 100, v % 100, cublas().place);
}

}  // namespace tessera::cuda
