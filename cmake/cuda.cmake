# The CUDA backend. TESSERA_CUDA: ON, OFF, or AUTO, which is ON where the toolkit is found.
# TESSERA_CUDA_PROVIDER names a CMake file that provides what the toolkit would: the targets
# tessera_cudart, tessera_cublaslt and tessera_nccl, and tessera_cuda_sources(target sources...).
set(TESSERA_CUDA AUTO CACHE STRING "Build the CUDA backend: AUTO, ON or OFF")
set_property(CACHE TESSERA_CUDA PROPERTY STRINGS AUTO ON OFF)
set(TESSERA_CUDA_PROVIDER "" CACHE FILEPATH "What stands in for the CUDA toolkit; empty: NVIDIA's")
set(TESSERA_CUDA_ARCHITECTURES "80-real;86-real;89-real;90" CACHE STRING
    "GPUs to compile for; the last one's PTX serves later ones")

set(TESSERA_HAS_CUDA 0)
if(TESSERA_CUDA_PROVIDER)
  set(TESSERA_HAS_CUDA 1)
  include(${TESSERA_CUDA_PROVIDER})
elseif(NOT TESSERA_CUDA STREQUAL "OFF")
  include(CheckLanguage)
  find_package(CUDAToolkit 12.4 QUIET)
  if(CUDAToolkit_FOUND AND NOT CMAKE_CUDA_COMPILER)
    set(CMAKE_CUDA_COMPILER ${CUDAToolkit_NVCC_EXECUTABLE})
  endif()
  check_language(CUDA)
  find_package(NCCL 2.18 QUIET)
  if(CUDAToolkit_FOUND AND CMAKE_CUDA_COMPILER AND NCCL_FOUND)
    set(TESSERA_HAS_CUDA 1)
    include(cmake/nvcc.cmake)
  elseif(TESSERA_CUDA STREQUAL "ON")
    message(FATAL_ERROR
      "TESSERA_CUDA=ON needs the CUDA toolkit 12.4 or later with nvcc (found: "
      "${CUDAToolkit_NVCC_EXECUTABLE}) and the header of NCCL 2.18 or later "
      "(found: ${NCCL_INCLUDE_DIR})")
  endif()
endif()
if(TESSERA_HAS_CUDA)
  message(STATUS "CUDA backend: yes${TESSERA_CUDA_PROVIDER}")
else()
  message(STATUS "CUDA backend: no (TESSERA_CUDA=${TESSERA_CUDA})")
endif()
add_compile_definitions(TESSERA_HAS_CUDA=${TESSERA_HAS_CUDA})
