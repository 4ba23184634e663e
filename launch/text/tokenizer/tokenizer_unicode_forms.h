// Unicode's normalization forms, of the version of Unicode that the reference has.
#pragma once

#include "launch/text/tokenizer/tokenizer_text.h"

namespace tessera::launch {

enum class UnicodeForm { kNfc, kNfd, kNfkc, kNfkd };

/// A character made of several comes from where its first part stood.
AlignedText to_unicode_form(AlignedView text, UnicodeForm form);

}  // namespace tessera::launch
