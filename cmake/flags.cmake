# Compiler flags of the whole project. Never -march=native: SIMD is chosen at run time.

# Contraction would fuse a*b+c where the compiler likes; FMAs are written out instead, so that every
# build computes the same bits.
set(cxx_options -ffp-contract=off -Wall -Wextra -Wno-unused-parameter -fno-omit-frame-pointer)
if(CMAKE_BUILD_TYPE STREQUAL "Release")
  list(APPEND cxx_options -O3)
endif()
if(TESSERA_WERROR)
  list(APPEND cxx_options -Werror)
endif()
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # g++ 12 reports false positives inside Highway, fmt and std::string at -O3.
  list(APPEND cxx_options -Wno-array-bounds -Wno-restrict -Wno-stringop-overflow
       -Wno-maybe-uninitialized -Wno-psabi)
endif()
add_compile_options("$<$<COMPILE_LANGUAGE:C,CXX>:${cxx_options}>")

# libgomp is invisible to TSan and would be reported falsely; parallel_for uses std::thread there.
if(TESSERA_SANITIZE MATCHES "thread")
  add_compile_definitions(TESSERA_NO_OPENMP)
else()
  find_package(OpenMP REQUIRED)
  link_libraries(OpenMP::OpenMP_CXX)
endif()
if(TESSERA_SANITIZE)
  # At -O2 the checks take three times as long to compile. Kernels have -O1 (library.cmake).
  add_compile_options(-Og -g1 -fsanitize=${TESSERA_SANITIZE} -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${TESSERA_SANITIZE})
endif()
find_package(Threads REQUIRED)
link_libraries(Threads::Threads)

# Two SIMD targets, chosen at run time: AVX2+FMA (the least the program accepts) and AVX-512.
# Both execute the same FMAs in the same order, so they give the same float32 bits.
add_compile_definitions(HWY_BASELINE_TARGETS=HWY_AVX2 HWY_DISABLED_TARGETS=0x1800)

find_program(CCACHE ccache)
if(CCACHE)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CCACHE})
endif()

# tessera_precompile(target [headers...]): the headers that most sources include, precompiled where
# a sanitizer is on: half of the time goes into them there. Other builds have none, so that a source
# must include what it uses. Targets with the same headers share one.
function(tessera_precompile target)
  if(NOT TESSERA_SANITIZE)
    return()
  endif()
  get_property(first GLOBAL PROPERTY "TESSERA_PRECOMPILED ${ARGN}")
  if(first)
    target_precompile_headers(${target} REUSE_FROM ${first})
  else()
    target_precompile_headers(${target} PRIVATE <algorithm> <fmt/format.h> <fmt/ranges.h>
      <functional> <map> <memory> <nlohmann/json.hpp> <optional> <span> <string> <vector> ${ARGN})
    set_property(GLOBAL PROPERTY "TESSERA_PRECOMPILED ${ARGN}" ${target})
  endif()
endfunction()
if(TESSERA_SANITIZE)
  add_compile_options(-fpch-preprocess)  # for ccache
  if(CCACHE)
    set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env
        CCACHE_SLOPPINESS=pch_defines,time_macros ${CCACHE})
  endif()
endif()
