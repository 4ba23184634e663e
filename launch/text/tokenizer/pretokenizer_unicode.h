// What became a member of a class of characters in Unicode 15 and 16, as members of a PCRE2 class.
// The reference's engine knows Unicode 16, PCRE2 10.42 knows 14; with a newer PCRE2, listing a
// character twice does no harm.
#pragma once

#include <string_view>

namespace tessera::launch {

inline constexpr std::string_view kNewUppercase =
    R"(\x{1c89}\x{a7cb}\x{a7cc}\x{a7da}\x{a7dc}\x{10d50}-\x{10d65})";
inline constexpr std::string_view kNewLowercase =
    R"(\x{1c8a}\x{a7cd}\x{a7db}\x{10d70}-\x{10d85}\x{1df25}-\x{1df2a})";
inline constexpr std::string_view kNewModifierLetters =
    R"(\x{10d4e}\x{10d6f}\x{16d40}-\x{16d42}\x{16d6b}\x{16d6c}\x{1e030}-\x{1e06d}\x{1e4eb})";
inline constexpr std::string_view kNewOtherLetters =
    R"(\x{105c0}-\x{105f3}\x{10d4a}-\x{10d4d}\x{10d4f}\x{10ec2}-\x{10ec4}\x{1123f}\x{11240})"
    R"(\x{11380}-\x{11389}\x{1138b}\x{1138e}\x{11390}-\x{113b5}\x{113b7}\x{113d1}\x{113d3})"
    R"(\x{11bc0}-\x{11be0}\x{11f02}\x{11f04}-\x{11f10}\x{11f12}-\x{11f33}\x{1342f})"
    R"(\x{13441}-\x{13446}\x{13460}-\x{143fa}\x{16100}-\x{1611d}\x{16d43}-\x{16d6a})"
    R"(\x{18cff}\x{1b132}\x{1b155}\x{1e4d0}-\x{1e4ea}\x{1e5d0}-\x{1e5ed}\x{1e5f0}\x{2b739})"
    R"(\x{2ebf0}-\x{2ee5d}\x{31350}-\x{323af})";
inline constexpr std::string_view kNewMarks =
    R"(\x{897}\x{cf3}\x{ece}\x{10d69}-\x{10d6d}\x{10efc}-\x{10eff}\x{11241})"
    R"(\x{113b8}-\x{113c0}\x{113c2}\x{113c5}\x{113c7}-\x{113ca}\x{113cc}-\x{113d0}\x{113d2})"
    R"(\x{113e1}\x{113e2}\x{11f00}\x{11f01}\x{11f03}\x{11f34}-\x{11f3a}\x{11f3e}-\x{11f42})"
    R"(\x{11f5a}\x{13440}\x{13447}-\x{13455}\x{1611e}-\x{1612f}\x{1e08f}\x{1e4ec}-\x{1e4ef})"
    R"(\x{1e5ee}\x{1e5ef})";
inline constexpr std::string_view kNewDigits =
    R"(\x{10d40}-\x{10d49}\x{116d0}-\x{116e3}\x{11bf0}-\x{11bf9}\x{11f50}-\x{11f59})"
    R"(\x{16130}-\x{16139}\x{16d70}-\x{16d79}\x{1ccf0}-\x{1ccf9}\x{1e4f0}-\x{1e4f9})"
    R"(\x{1e5f1}-\x{1e5fa})";
inline constexpr std::string_view kNewOtherNumbers = R"(\x{1d2c0}-\x{1d2d3})";
inline constexpr std::string_view kNewDashes = R"(\x{10d6e})";
inline constexpr std::string_view kNewOtherPunctuation =
    R"(\x{1b4e}\x{1b4f}\x{1b7f}\x{113d4}\x{113d5}\x{113d7}\x{113d8}\x{11b00}-\x{11b09}\x{11be1})"
    R"(\x{11f43}-\x{11f4f}\x{16d6d}-\x{16d6f}\x{1e5ff})";
inline constexpr std::string_view kNewMathSymbols = R"(\x{10d8e}\x{10d8f})";
inline constexpr std::string_view kNewOtherSymbols =
    R"(\x{2427}-\x{2429}\x{2ffc}-\x{2fff}\x{31e4}\x{31e5}\x{31ef}\x{1cc00}-\x{1ccef})"
    R"(\x{1cd00}-\x{1ceb3}\x{1f6dc}\x{1f774}-\x{1f776}\x{1f77b}-\x{1f77f}\x{1f7d9})"
    R"(\x{1f8b2}-\x{1f8bb}\x{1f8c0}\x{1f8c1}\x{1fa75}-\x{1fa77}\x{1fa87}-\x{1fa89}\x{1fa8f})"
    R"(\x{1faad}-\x{1faaf}\x{1fabb}-\x{1fabf}\x{1fac6}\x{1face}\x{1facf}\x{1fada}-\x{1fadc})"
    R"(\x{1fadf}\x{1fae8}\x{1fae9}\x{1faf7}\x{1faf8}\x{1fbcb}-\x{1fbef})";
/// Alphabetic, but no letter.
inline constexpr std::string_view kNewAlphabetic =
    R"(\x{363}-\x{36f}\x{897}\x{c04}\x{cf3}\x{f82}\x{f83}\x{1dd3}-\x{1de6}\x{10d69}\x{10efc})"
    R"(\x{11080}\x{11081}\x{11241}\x{113b8}-\x{113c0}\x{113c2}\x{113c5}\x{113c7}-\x{113ca})"
    R"(\x{113cc}\x{113cd}\x{11f00}\x{11f01}\x{11f03}\x{11f34}-\x{11f3a}\x{11f3e}-\x{11f40})"
    R"(\x{1611e}-\x{1612e}\x{1e08f})";
/// Lowercase, but no lowercase letter.
inline constexpr std::string_view kNewOtherLowercase =
    R"(\x{10fc}\x{a7f2}-\x{a7f4}\x{ab69}\x{1e030}-\x{1e06d})";
/// `\w` beyond letters, marks, digits and connectors; listed whole, for no property names them.
inline constexpr std::string_view kOtherWordPoints =
    R"(\x{16ee}-\x{16f0}\x{2160}-\x{2182}\x{2185}-\x{2188}\x{24b6}-\x{24e9}\x{3007})"
    R"(\x{3021}-\x{3029}\x{3038}-\x{303a}\x{a6e6}-\x{a6ef}\x{10140}-\x{10174}\x{10341})"
    R"(\x{1034a}\x{103d1}-\x{103d5}\x{12400}-\x{1246e}\x{1f130}-\x{1f149})"
    R"(\x{1f150}-\x{1f169}\x{1f170}-\x{1f189})";
/// Members of `\w` outside brackets only.
inline constexpr std::string_view kFractions = R"(\x{b2}\x{b3}\x{b9}\x{bc}-\x{be})";

// Of scripts.
inline constexpr std::string_view kNewHan = R"(\x{2b739}\x{2ebf0}-\x{2ee5d}\x{31350}-\x{323af})";
inline constexpr std::string_view kNewHiragana = R"(\x{1b132})";
inline constexpr std::string_view kNewKatakana = R"(\x{1b155})";
inline constexpr std::string_view kNewLatin =
    R"(\x{a7cb}-\x{a7cd}\x{a7da}-\x{a7dc}\x{1df25}-\x{1df2a})";
inline constexpr std::string_view kNewCyrillic = R"(\x{1c89}\x{1c8a}\x{1e030}-\x{1e06d}\x{1e08f})";
inline constexpr std::string_view kNewArabic = R"(\x{897}\x{10ec2}-\x{10ec4}\x{10efc}-\x{10eff})";
inline constexpr std::string_view kNewDevanagari = R"(\x{11b00}-\x{11b09})";
inline constexpr std::string_view kNewLao = R"(\x{ece})";
inline constexpr std::string_view kNewMyanmar = R"(\x{116d0}-\x{116e3})";

}  // namespace tessera::launch
