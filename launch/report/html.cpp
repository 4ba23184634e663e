#include "launch/report/html.h"

#include <vector>

#include "runtime/core/error.h"
#include "runtime/io/file.h"
#include "runtime/io/folder.h"

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

void write_page(const std::string& path, std::string_view page) {
  TESSERA_CHECK(page.starts_with(kPageStart));
  io::AtomicFile file(path);
  if (io::exists(path)) {
    const io::ReadFile older(path);
    std::string start(std::min<uint64_t>(older.size(), kPageStart.size()), '\0');
    older.read(0, std::as_writable_bytes(std::span(start)));
    if (start != kPageStart) {
      fail_usage("{} is there already and is no page; choose another name", path);
    }
  }
  file.write(page);
  file.commit();
}

}  // namespace tessera::launch
