# Fails when a file is longer than 600 lines, a line longer than 100 columns, or the six files of the
# newcomer's path together longer than 1,200 lines. Warns above 400 lines a file.
# Run: cmake -DSOURCE=<root> -P budgets.cmake
set(violations "")

function(count_lines path out)
  file(READ ${path} text)
  string(REGEX MATCHALL "\n" newlines "${text}")
  list(LENGTH newlines n)
  set(${out} ${n} PARENT_SCOPE)
endfunction()

foreach(folder runtime quant parallel optim lora launch tests)
  file(GLOB_RECURSE sources RELATIVE ${SOURCE} ${SOURCE}/${folder}/*.h ${SOURCE}/${folder}/*.cpp)
  foreach(source ${sources})
    count_lines(${SOURCE}/${source} n)
    if(n GREATER 600)
      list(APPEND violations "${source}: ${n} lines, more than 600")
    elseif(n GREATER 400)
      message(STATUS "${source}: ${n} lines; is it still one idea?")
    endif()
  endforeach()
endforeach()

set(path_total 0)
foreach(source launch/main.cpp launch/train.cpp lora/decoder/decoder.cpp lora/decoder/block.cpp
        lora/linear.cpp parallel/layer_scheduler.cpp)
  count_lines(${SOURCE}/${source} n)
  math(EXPR path_total "${path_total} + ${n}")
endforeach()
if(path_total GREATER 1200)
  list(APPEND violations "the newcomer's six files have ${path_total} lines, more than 1200")
endif()

if(violations)
  list(JOIN violations "\n  " text)
  message(FATAL_ERROR "budgets:\n  ${text}")
endif()
