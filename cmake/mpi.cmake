# MPI. TESSERA_MPI: ON, OFF, or AUTO, which is ON where it is found. Without it a program trains
# alone, or on the GPUs of one process.
set(TESSERA_MPI AUTO CACHE STRING "Build what runs under mpirun: AUTO, ON or OFF")
set_property(CACHE TESSERA_MPI PROPERTY STRINGS AUTO ON OFF)
set(TESSERA_HAS_MPI 0)
if(NOT TESSERA_MPI STREQUAL "OFF")
  find_package(MPI COMPONENTS C)
  if(MPI_C_FOUND)
    set(TESSERA_HAS_MPI 1)
  elseif(TESSERA_MPI STREQUAL "ON")
    message(FATAL_ERROR "TESSERA_MPI=ON needs MPI's headers and library (Debian: libopenmpi-dev)")
  endif()
endif()
if(NOT TESSERA_HAS_MPI)
  message(STATUS "MPI: no (TESSERA_MPI=${TESSERA_MPI})")
  return()
endif()

# What speaks MPI, loaded by a process that is one of several ranks (parallel/load_mpi.h).
file(GLOB mpi_sources CONFIGURE_DEPENDS parallel/mpi_*.cpp)
add_library(tessera_mpi MODULE ${mpi_sources})
tessera_whole_switches(tessera_mpi)
set_target_properties(tessera_mpi PROPERTIES PREFIX ""
                      LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/lib/tessera)
# Without the C++ bindings, which MPI gave up and which need a library of their own.
target_compile_definitions(tessera_mpi PRIVATE OMPI_SKIP_MPICXX)
target_link_options(tessera_mpi PRIVATE -Wl,--as-needed)
if(TESSERA_BUNDLE)
  # By the C compiler, and without the C++ library that CMake would add: the program's is used.
  set_target_properties(tessera_mpi PROPERTIES LINKER_LANGUAGE C)
  list(REMOVE_ITEM CMAKE_CXX_IMPLICIT_LINK_LIBRARIES stdc++)
endif()
target_link_libraries(tessera_mpi PRIVATE tessera_parallel MPI::MPI_C)
install(TARGETS tessera_mpi LIBRARY DESTINATION lib/tessera)
