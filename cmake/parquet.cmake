# Parquet. TESSERA_PARQUET: ON, OFF, or AUTO, which is ON where Arrow's C++ library (version 18 or
# later) is found: as a package of its own, or in pyarrow. TESSERA_PYARROW is the folder of pyarrow,
# by default that of the virtual environment, or of python3.
set(TESSERA_PARQUET AUTO CACHE STRING "Read Parquet files: AUTO, ON or OFF")
set_property(CACHE TESSERA_PARQUET PROPERTY STRINGS AUTO ON OFF)

# tessera_find_arrow(): sets tessera_arrow to what is linked, empty where there is no Arrow.
function(tessera_find_arrow)
  set(header include/parquet/arrow/reader.h)
  if(TESSERA_PYARROW AND NOT EXISTS ${TESSERA_PYARROW}/${header})
    message(WARNING "TESSERA_PYARROW: ${TESSERA_PYARROW} has no ${header}; another is looked for")
    unset(TESSERA_PYARROW CACHE)
  endif()
  if(NOT TESSERA_PYARROW)
    find_package(Parquet CONFIG QUIET)
    if(TARGET Parquet::parquet_shared)
      set(tessera_arrow Parquet::parquet_shared PARENT_SCOPE)
      return()
    endif()
  endif()
  set(places)
  foreach(python $ENV{VIRTUAL_ENV}/bin/python3 python3)
    execute_process(
      COMMAND ${python} -c "from importlib.util import find_spec
print(find_spec('pyarrow').submodule_search_locations[0])"
      OUTPUT_VARIABLE place OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET RESULT_VARIABLE ignored)
    list(APPEND places ${place})
  endforeach()
  find_path(TESSERA_PYARROW ${header} PATHS ${places} NO_DEFAULT_PATH
            DOC "The folder of pyarrow, as python3 -c 'import pyarrow; print(pyarrow.__path__[0])'")
  # Under the names that have a version: wheels have no others.
  file(GLOB parquet CONFIGURE_DEPENDS ${TESSERA_PYARROW}/libparquet.so.*)
  file(GLOB arrow CONFIGURE_DEPENDS ${TESSERA_PYARROW}/libarrow.so.*)
  set(lines)
  if(TESSERA_PYARROW)
    file(STRINGS ${TESSERA_PYARROW}/include/arrow/util/config.h lines REGEX "VERSION_MAJOR +[0-9]+")
  endif()
  string(REGEX MATCH "[0-9]+" version "${lines}")
  if(TESSERA_PYARROW AND NOT version GREATER_EQUAL 18)
    message(STATUS "pyarrow in ${TESSERA_PYARROW} is of version ${version}, not 18 or later")
  elseif(parquet AND arrow)
    list(GET parquet 0 parquet)
    list(GET arrow 0 arrow)
    set(tessera_arrow ${parquet} ${arrow} PARENT_SCOPE)
  endif()
endfunction()

set(TESSERA_HAS_PARQUET 0)
set(tessera_arrow)
if(NOT TESSERA_PARQUET STREQUAL "OFF")
  tessera_find_arrow()
  if(tessera_arrow)
    set(TESSERA_HAS_PARQUET 1)
  elseif(TESSERA_PARQUET STREQUAL "ON")
    message(FATAL_ERROR "TESSERA_PARQUET=ON needs Arrow's C++ library: pip install pyarrow; where "
                        "python3 does not find it, TESSERA_PYARROW names its folder")
  endif()
endif()
if(NOT TESSERA_HAS_PARQUET)
  message(STATUS "Parquet: no (TESSERA_PARQUET=${TESSERA_PARQUET})")
  return()
endif()
message(STATUS "Parquet: by ${tessera_arrow}")

# What reads Parquet files, loaded with the first of them (launch/data/files/parquet_rows.h).
file(GLOB parquet_sources CONFIGURE_DEPENDS launch/data/files/parquet_module*.cpp)
add_library(tessera_parquet MODULE ${parquet_sources})
set_target_properties(tessera_parquet PROPERTIES PREFIX "" INSTALL_RPATH_USE_LINK_PATH ON
                      LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/lib/tessera)
target_include_directories(tessera_parquet PRIVATE ${CMAKE_SOURCE_DIR})
if(TESSERA_PYARROW)
  target_include_directories(tessera_parquet SYSTEM PRIVATE ${TESSERA_PYARROW}/include)
endif()
# Arrow is not built with sanitizers, which would misjudge containers that both sides touch.
target_compile_options(tessera_parquet PRIVATE -fno-sanitize=all)
target_link_options(tessera_parquet PRIVATE -Wl,--as-needed -fno-sanitize=all)
target_link_libraries(tessera_parquet PRIVATE ${tessera_arrow})
install(TARGETS tessera_parquet LIBRARY DESTINATION lib/tessera)
