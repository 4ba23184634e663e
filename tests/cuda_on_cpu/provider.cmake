# Builds .cu files with the host compiler and links stand-ins for NVIDIA's libraries, so that they
# run on the CPU: cmake -DTESSERA_CUDA_PROVIDER=tests/cuda_on_cpu/provider.cmake
# Needs the headers of the CUDA toolkit, whose signatures are used; no library and no GPU.
set(CUDA_ON_CPU_DIR ${CMAKE_CURRENT_LIST_DIR})
find_path(CUDA_ON_CPU_TOOLKIT_INCLUDE cuda_runtime.h
          HINTS ENV CUDA_HOME ENV CUDA_PATH PATHS /usr/local/cuda PATH_SUFFIXES include)
if(NOT CUDA_ON_CPU_TOOLKIT_INCLUDE)
  message(FATAL_ERROR "Running CUDA code on the CPU needs the headers of the CUDA toolkit "
                      "(cuda_runtime.h): set CUDA_HOME or -DCUDA_ON_CPU_TOOLKIT_INCLUDE=FOLDER")
endif()

add_library(tessera_cudart STATIC
  ${CUDA_ON_CPU_DIR}/block.cpp ${CUDA_ON_CPU_DIR}/control.cpp ${CUDA_ON_CPU_DIR}/fibers.cpp
  ${CUDA_ON_CPU_DIR}/memory.cpp ${CUDA_ON_CPU_DIR}/runtime_device.cpp
  ${CUDA_ON_CPU_DIR}/runtime_errors.cpp ${CUDA_ON_CPU_DIR}/runtime_memory.cpp
  ${CUDA_ON_CPU_DIR}/runtime_stream.cpp ${CUDA_ON_CPU_DIR}/scheduler.cpp
  ${CUDA_ON_CPU_DIR}/stream_context.cpp ${CUDA_ON_CPU_DIR}/warp.cpp)
target_compile_options(tessera_cudart PRIVATE -O2)
target_include_directories(tessera_cudart BEFORE PUBLIC ${CUDA_ON_CPU_DIR}/include)
target_include_directories(tessera_cudart SYSTEM PUBLIC ${CUDA_ON_CPU_TOOLKIT_INCLUDE})

# What switches between CUDA threads and streams must not itself be seen by TSan, nor call what it
# intercepts.
if(TESSERA_SANITIZE MATCHES "thread")
  target_compile_definitions(tessera_cudart PRIVATE CUDA_ON_CPU_TSAN)
  set_source_files_properties(
    ${CUDA_ON_CPU_DIR}/block.cpp ${CUDA_ON_CPU_DIR}/fibers.cpp
    ${CUDA_ON_CPU_DIR}/stream_context.cpp ${CUDA_ON_CPU_DIR}/warp.cpp
    TARGET_DIRECTORY tessera_cudart PROPERTIES
    COMPILE_OPTIONS "-fno-sanitize=thread;-fno-tree-loop-distribute-patterns")
endif()

# cuda_on_cpu_library(target source): a stand-in on top of it, empty where nobody wrote one.
function(cuda_on_cpu_library target source)
  if(EXISTS ${source})
    add_library(${target} STATIC ${source})
    target_compile_options(${target} PRIVATE -O2)
    target_link_libraries(${target} PUBLIC tessera_cudart)
  else()
    add_library(${target} INTERFACE)
    target_link_libraries(${target} INTERFACE tessera_cudart)
  endif()
endfunction()
cuda_on_cpu_library(tessera_cublaslt ${CUDA_ON_CPU_DIR}/blas_standin.cpp)
cuda_on_cpu_library(tessera_nccl ${CUDA_ON_CPU_DIR}/nccl_standin.cpp)
# Programs open these when they need them, and find the stand-ins in themselves.
target_link_options(tessera_cublaslt INTERFACE "$<$<STREQUAL:$<TARGET_PROPERTY:TYPE>,EXECUTABLE>:\
-Wl,-u,cublasLtGetVersion;-Wl,--export-dynamic-symbol=cublasLt*>")
target_link_options(tessera_nccl INTERFACE "$<$<STREQUAL:$<TARGET_PROPERTY:TYPE>,EXECUTABLE>:\
-Wl,-u,ncclGetVersion;-Wl,--export-dynamic-symbol=nccl*>")

# Kernels alias memory as nvcc allows; below -O2 TSan misses races.
set(CUDA_ON_CPU_OPTIONS -fno-strict-aliasing -O2 -Wno-unknown-pragmas)

# tessera_cuda_sources(target sources...): adds .cu files, compiled as C++.
function(tessera_cuda_sources target)
  target_sources(${target} PRIVATE ${ARGN})
  target_include_directories(${target} BEFORE PUBLIC ${CUDA_ON_CPU_DIR}/include)
  target_include_directories(${target} SYSTEM PUBLIC ${CUDA_ON_CPU_TOOLKIT_INCLUDE})
  set_source_files_properties(${ARGN} TARGET_DIRECTORY ${target} PROPERTIES
                              LANGUAGE CXX COMPILE_OPTIONS "-x;c++;${CUDA_ON_CPU_OPTIONS}"
                              SKIP_PRECOMPILE_HEADERS ON)
endfunction()
