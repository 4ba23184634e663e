# TESSERA_BUNDLE=ON, for launch/bundle.sh: a program that needs none of the packages it was built
# with. Their libraries are linked statically; Highway, which Debian has as a shared library alone,
# is copied beside the program. The unwinder stays the machine's: the static one of GCC 12 needs
# glibc 2.35. MPI and CUDA's libraries are the machine's, too, and are opened when they are needed.
option(TESSERA_BUNDLE "A program that needs only what every machine has" OFF)
set(tessera_fmt fmt::fmt)
set(tessera_yaml yaml-cpp)
if(NOT TESSERA_BUNDLE)
  return()
endif()

set(CMAKE_FIND_LIBRARY_SUFFIXES .a .so)
set(CMAKE_BUILD_WITH_INSTALL_RPATH ON)
set(CMAKE_INSTALL_RPATH "$ORIGIN/lib;$ORIGIN/../lib")
find_library(tessera_yaml_static yaml-cpp REQUIRED)
set(tessera_yaml ${tessera_yaml_static})
add_library(tessera_fmt_static STATIC ${CMAKE_CURRENT_LIST_DIR}/fmt.cpp
            ${CMAKE_CURRENT_LIST_DIR}/arc4random.cpp)
target_compile_definitions(tessera_fmt_static PUBLIC FMT_SHARED)  # so that objects are as elsewhere
set(tessera_fmt tessera_fmt_static)

# One C++ library for the program and for the module that speaks MPI, which throws into it: the
# program has it and exports it.
set(executable $<STREQUAL:$<TARGET_PROPERTY:TYPE>,EXECUTABLE>)
add_link_options("$<${executable}:-static-libstdc++;-Wl,-u,arc4random>")
foreach(symbols _ZSt* _ZNSt* _ZNKSt* _ZTISt* _ZTSSt* _ZTVSt* _ZTVN10__cxxabiv1* _Znwm* _Znam*
        _ZdlPv* _ZdaPv* __cxa_* __gxx_personality_v0 __dynamic_cast)
  add_link_options("$<${executable}:-Wl,--export-dynamic-symbol=${symbols}>")
endforeach()
