// Classes of code points as the reference's tables have them, whatever the version of utf8proc.
#pragma once

namespace tessera::launch {

/// Unicode's White_Space.
bool is_white_space(char32_t point);
/// `\w` of Unicode's regular expressions (UTS 18).
bool is_word_point(char32_t point);
/// Unicode's general category N.
bool is_numeric(char32_t point);
/// Punctuation, and every ASCII character that is neither letter, digit, space nor control.
bool is_punctuation(char32_t point);
/// The marks that StripAccents removes.
bool is_mark(char32_t point);
/// The marks that BertNormalizer removes.
bool is_nonspacing_mark(char32_t point);
/// What BertNormalizer removes as control characters, U+FFFD among them.
bool is_bert_control(char32_t point);
/// The ideographs that BertNormalizer sets apart.
bool is_bert_ideograph(char32_t point);
/// The lower case of one code point, but of U+0130, whose lower case is two.
char32_t lower_case(char32_t point);
/// Marks that normalization leaves in their place.
bool is_uncombining(char32_t point);
/// Characters that normalization does not take apart.
bool is_undecomposed(char32_t point);

}  // namespace tessera::launch
