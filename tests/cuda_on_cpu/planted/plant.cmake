# Writes a copy of a source that has one bug of the table: cmake -DROOT=.. -DBUG=name -DTO=file -P
cmake_minimum_required(VERSION 3.25)
function(planted_bug name)
  if(NOT name STREQUAL BUG)
    return()
  endif()
  cmake_parse_arguments(PARSE_ARGV 1 ARG "" "IN;FIND;REPLACE" "")
  file(READ ${ROOT}/${ARG_IN} text)
  string(FIND "${text}" "${ARG_FIND}" first)
  string(FIND "${text}" "${ARG_FIND}" last REVERSE)
  if(first EQUAL -1 OR NOT first EQUAL last)
    message(FATAL_ERROR "planted bug ${BUG}: ${ARG_IN} must have this text exactly once, where the "
                        "bug goes; bring tests/cuda_on_cpu/planted/table.cmake up to date:\n"
                        "${ARG_FIND}")
  endif()
  string(REPLACE "${ARG_FIND}" "${ARG_REPLACE}" text "${text}")
  file(WRITE ${TO} "${text}")
endfunction()
include(${CMAKE_CURRENT_LIST_DIR}/table.cmake)
