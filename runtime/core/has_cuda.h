// Whether the CUDA backend is part of this build; a GPU may still be missing where it runs. Alone
// here, so that what does not ask compiles to the same with the backend and without.
#pragma once

namespace tessera {

inline constexpr bool kHasCuda = TESSERA_HAS_CUDA;

}  // namespace tessera
