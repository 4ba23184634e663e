#include "launch/report/html.h"

namespace tessera::launch {

std::string escaped(std::string_view text, Lines lines) {
  std::string out;
  for (const char c : visible(text, lines)) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

}  // namespace tessera::launch
