# NVIDIA's toolkit. The runtime is linked statically and opens the driver; cuBLASLt and NCCL are
# opened when they are needed (runtime/core/shared_library.h). So a program starts where there is
# none of it.
set(CMAKE_CUDA_RUNTIME_LIBRARY Static)
set(CMAKE_CUDA_ARCHITECTURES ${TESSERA_CUDA_ARCHITECTURES})
set(CMAKE_CUDA_HOST_COMPILER ${CMAKE_CXX_COMPILER})
enable_language(CUDA)
if(TESSERA_BUNDLE)
  list(REMOVE_ITEM CMAKE_CUDA_IMPLICIT_LINK_LIBRARIES stdc++)  # it is linked statically
endif()
# CMake 3.25 does not know that nvcc has this standard.
set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION -std=c++20)
set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION -std=c++20)
list(APPEND CMAKE_CUDA_COMPILE_FEATURES cuda_std_20)
set(CMAKE_CUDA_STANDARD 20)
set(CMAKE_CUDA_STANDARD_REQUIRED ON)

add_library(tessera_cudart INTERFACE)
target_link_libraries(tessera_cudart INTERFACE CUDA::cudart_static)
add_library(tessera_cublaslt INTERFACE)
target_include_directories(tessera_cublaslt SYSTEM INTERFACE ${CUDAToolkit_INCLUDE_DIRS})
add_library(tessera_nccl INTERFACE)
target_include_directories(tessera_nccl INTERFACE ${NCCL_INCLUDE_DIR})

# No contraction, as everywhere; a spilled register is an error. fmt 9 gives up constexpr under nvcc
# where its own code needs it. Kernels may call the constexpr functions of the project.
set(TESSERA_NVCC_OPTIONS -DFMT_USE_CONSTEXPR=1 --expt-relaxed-constexpr -fmad=false
    -Xptxas=--warn-on-spills -Werror=all-warnings
    -Xcompiler=-Wall,-Wextra,-Wno-unused-parameter,-fno-omit-frame-pointer)

function(tessera_cuda_sources target)
  target_sources(${target} PRIVATE ${ARGN})
  target_include_directories(${target} BEFORE PUBLIC ${CMAKE_SOURCE_DIR}/runtime/cuda/nvcc)
  set_source_files_properties(${ARGN} TARGET_DIRECTORY ${target} PROPERTIES
                              COMPILE_OPTIONS "${TESSERA_NVCC_OPTIONS}")
endfunction()
