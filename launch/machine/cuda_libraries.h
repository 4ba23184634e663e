// Where the CUDA libraries are found that the program opens when it needs them: cuBLASLt and NCCL.
#pragma once

#include <string>

#include "runtime/core/function_ref.h"
#include "runtime/core/shared_library.h"

namespace tessera::launch {

/// First the folders that TESSERA_CUDA_LIBRARY_PATH names (separated by ':'). Last those of the
/// CUDA toolkit (CUDA_HOME, CUDA_PATH, /usr/local/cuda) and of NVIDIA's Python packages
/// (`nvidia-*`) in the environments that VIRTUAL_ENV, CONDA_PREFIX and PATH name, in the user's own
/// packages and in the system's; of these, the folders that exist. `variable` gives the value of an
/// environment variable or null; `root` is where the system's folders are: "/", or a folder that a
/// test made.
LibraryFolders cuda_library_folders(FunctionRef<const char*(const char*)> variable,
                                    const std::string& root);

/// Has the libraries looked for there, for this process. A tour of folders; nothing is opened.
void use_cuda_library_folders();

}  // namespace tessera::launch
