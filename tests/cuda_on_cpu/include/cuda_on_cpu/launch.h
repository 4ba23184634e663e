// Launching a kernel that the host compiler compiled.
#pragma once

#include <cuda_runtime.h>

#include <functional>
#include <tuple>
#include <type_traits>
#include <vector>

// NVIDIA's bound is read back at the launch: the functions are preceded by as many one-byte
// instructions that do nothing and are never reached.
#undef __launch_bounds__
#define CUDA_ON_CPU_FIRST(first, ...) (first)
#define __launch_bounds__(...)                                               \
  __attribute__((patchable_function_entry(CUDA_ON_CPU_FIRST(__VA_ARGS__, 0), \
                                          CUDA_ON_CPU_FIRST(__VA_ARGS__, 0))))

namespace cuda_on_cpu {

/// A word of a kernel's arguments that may be an address.
struct ArgumentWord {
  const void* address;
  bool is_pointer;  // declared as one, rather than found inside a struct
};

struct Launch {
  const void* function;
  dim3 grid;
  dim3 block;
  size_t shared_bytes;
  cudaStream_t stream;
  std::vector<ArgumentWord> words;
  std::function<void()> body;
};

/// Refuses what a GPU's runtime would, or queues it.
cudaError_t submit(Launch launch);

template <class T>
void add_words(std::vector<ArgumentWord>& words, const T& argument) {
  if constexpr (std::is_pointer_v<T>) {
    words.push_back({static_cast<const void*>(argument), true});
  } else if constexpr (std::is_class_v<T> && sizeof(T) >= sizeof(void*)) {
    T copy = argument;
    __builtin_clear_padding(&copy);  // which holds what was on the stack, old pointers too
    for (size_t at = 0; at + sizeof(void*) <= sizeof(T); at += sizeof(void*)) {
      const void* word;
      __builtin_memcpy(&word, reinterpret_cast<const char*>(&copy) + at, sizeof word);
      words.push_back({word, false});
    }
  }
}

template <class... Params, class... Args>
cudaError_t launch(void (*kernel)(Params...), dim3 grid, dim3 block, size_t shared_bytes,
                   cudaStream_t stream, Args... args) {
  static_assert((std::is_trivially_copyable_v<std::decay_t<Params>> && ...),
                "arguments of a kernel are copied as bytes");
  static_assert((sizeof(std::decay_t<Params>) + ... + 0) <= 32764, "too many bytes of arguments");
  std::tuple<std::decay_t<Params>...> values(static_cast<std::decay_t<Params>>(args)...);
  Launch launch{reinterpret_cast<const void*>(kernel), grid, block, shared_bytes, stream, {}, {}};
  std::apply([&](const auto&... value) { (add_words(launch.words, value), ...); }, values);
  launch.body = [kernel, values] { std::apply(kernel, values); };
  return submit(std::move(launch));
}

}  // namespace cuda_on_cpu

// NVIDIA's header declares these for nvcc alone.
template <class T>
cudaError_t cudaFuncSetAttribute(T* function, cudaFuncAttribute attribute, int value) {
  return cudaFuncSetAttribute(reinterpret_cast<const void*>(function), attribute, value);
}
template <class T>
cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* attributes, T* function) {
  return cudaFuncGetAttributes(attributes, reinterpret_cast<const void*>(function));
}
