#include "launch/config/yaml.h"

#include <utf8proc.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <cctype>
#include <optional>
#include <sstream>
#include <unordered_map>
#include <utility>

namespace tessera::launch {

namespace {

constexpr YamlLimits kLimits;

/// Thrown, after the fault was told, where the rest of a text has no meaning.
struct Stop {};

template <class... Args>
[[noreturn]] void stop_at(Faults& faults, const Place& place, fmt::format_string<Args...> format,
                          Args&&... args) {
  faults.add(place, format, std::forward<Args>(args)...);
  throw Stop();
}

/// The place of the line `line`, from 0, of a text that begins at `start`.
Place place_of(const Place& start, int line) {
  Place place = start;
  if (start.line > 0) place.line += line;
  return place;
}

/// Builds the tree; every rule of the header is checked as the events come.
class TreeBuilder final : public YAML::EventHandler {
 public:
  TreeBuilder(const Place& text, Faults& faults) : text_(text), faults_(faults) {}

  YamlNode take_root() { return std::move(root_); }

  void OnDocumentStart(const YAML::Mark& mark) override {
    if (started_) stop_at(faults_, at(mark), "a second document begins here; a config is one");
    started_ = true;
  }
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    const Place place = at(mark);
    refuse_anchor(place, anchor);
    if (key_expected()) return drop_entry(place, "a key is missing before ':'");
    add(node(YamlNode::Kind::kNull, place));
  }

  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
    const std::string_view fault = "an alias (*name) is not allowed here; write the value out";
    const Place place = at(mark);
    if (key_expected()) return drop_entry(place, fault);
    faults_.add(place, "{}", fault);
    add(node(YamlNode::Kind::kFaulty, place));
  }

  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    const Place place = at(mark);
    refuse_anchor(place, anchor);
    refuse_tag(place, tag);
    if (key_expected()) return begin_entry(place, value, tag);
    YamlNode scalar = node(YamlNode::Kind::kScalar, place);
    scalar.quoted = tag == "!";
    scalar.text = value;
    add(std::move(scalar));
  }

  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    open(YamlNode::Kind::kList, mark, tag, anchor);
  }
  void OnSequenceEnd() override { close(); }

  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    open(YamlNode::Kind::kMap, mark, tag, anchor);
  }
  void OnMapEnd() override { close(); }

 private:
  struct Frame {
    YamlNode node;
    std::optional<YamlEntry> entry;  // of a map: the key whose value comes next
    bool dropped = false;            // the value that comes next has no place in the tree
    std::unordered_map<std::string, size_t> index = {};  // of a map: its entries by key
  };

  Place at(const YAML::Mark& mark) const { return place_of(text_, mark.line); }

  YamlNode node(YamlNode::Kind kind, const Place& place) {
    if (++nodes_ > kLimits.max_nodes) {
      stop_at(faults_, place, "more than {} values", kLimits.max_nodes);
    }
    YamlNode made;
    made.kind = kind;
    made.place = place;
    return made;
  }

  void refuse_anchor(const Place& place, YAML::anchor_t anchor) {
    if (anchor == YAML::NullAnchor) return;
    faults_.add(place, "an anchor (&name) is not allowed here; write the value out");
  }

  // The parser reports "?" for an untagged node and "!" for a quoted scalar.
  void refuse_tag(const Place& place, const std::string& tag) {
    if (tag.empty() || tag == "?" || tag == "!") return;
    faults_.add(place, "the tag {} is not allowed here; remove it", shown(tag));
  }

  bool key_expected() const {
    if (stack_.empty() || stack_.back().node.kind != YamlNode::Kind::kMap) return false;
    return !stack_.back().entry && !stack_.back().dropped;
  }

  void begin_entry(const Place& place, const std::string& key, const std::string& tag) {
    if (key == "<<" && tag != "!") {
      return drop_entry(place, "a merge key (<<) is not allowed here; write the keys out");
    }
    Frame& frame = stack_.back();
    const auto [found, fresh] = frame.index.emplace(key, frame.node.entries.size());
    if (!fresh) {
      YamlEntry& first = frame.node.entries[found->second];
      first.repeated = true;
      const std::string line =
          place.line > 0 ? fmt::format(", first in line {}", first.place.line) : std::string();
      return drop_entry(place, fmt::format("{} is given twice{}; keep one", shown(key), line));
    }
    frame.entry = YamlEntry{key, place, {}};
  }

  void drop_entry(const Place& place, std::string_view fault) {
    faults_.add(place, "{}", fault);
    stack_.back().dropped = true;
  }

  void open(YamlNode::Kind kind, const YAML::Mark& mark, const std::string& tag,
            YAML::anchor_t anchor) {
    const Place place = at(mark);
    refuse_anchor(place, anchor);
    refuse_tag(place, tag);
    // An open bracket at the end of the text comes as a key too.
    if (key_expected()) {
      stop_at(faults_, place, "a key must be plain text; is a bracket left open?");
    }
    if (stack_.size() >= kLimits.max_depth) {
      stop_at(faults_, place, "nested more than {} deep", kLimits.max_depth);
    }
    stack_.push_back({node(kind, place), {}});
  }

  void close() {
    YamlNode done = std::move(stack_.back().node);
    stack_.pop_back();
    add(std::move(done));
  }

  void add(YamlNode value) {
    if (stack_.empty()) {
      root_ = std::move(value);
      return;
    }
    Frame& frame = stack_.back();
    if (frame.node.kind == YamlNode::Kind::kList) {
      frame.node.items.push_back(std::move(value));
      return;
    }
    if (std::exchange(frame.dropped, false)) return;
    frame.entry->value = std::move(value);
    frame.node.entries.push_back(std::move(*frame.entry));
    frame.entry.reset();
  }

  Place text_;
  Faults& faults_;
  std::vector<Frame> stack_;
  YamlNode root_;
  bool started_ = false;
  size_t nodes_ = 0;
};

/// UTF-16, by its mark or by the zero in each letter of ASCII.
bool is_utf16(std::string_view text) {
  return text.starts_with("\xff\xfe") || text.starts_with("\xfe\xff") ||
         (text.size() >= 2 && (text[0] == 0) != (text[1] == 0));
}

/// Bytes the parser would misread (it ends its input at a 0x04) or cannot take in bounded memory.
void check_bytes(std::string_view text, const Place& start, Faults& faults) {
  const Place whole{start.source, 0, start.argument};
  if (text.size() > kLimits.max_bytes) {
    stop_at(faults, whole, "{} bytes, more than the {} that a config may have", text.size(),
            kLimits.max_bytes);
  }
  if (is_utf16(text)) stop_at(faults, whole, "the text is UTF-16; save it as UTF-8");
  int line = 0;
  const auto stop = [&](std::string_view fault) {
    stop_at(faults, place_of(start, line), "{}", fault);
  };
  size_t flow_marks = 0;
  for (size_t i = 0; i < text.size();) {
    int32_t code = 0;
    const auto* bytes = reinterpret_cast<const utf8proc_uint8_t*>(text.data() + i);
    const auto length = utf8proc_iterate(bytes, utf8proc_ssize_t(text.size() - i), &code);
    if (length <= 0) stop("not valid UTF-8");
    const bool space = code == '\n' || code == '\t' || code == '\r';
    if ((code < 0x20 && !space) || code == 0x7f) stop("a control character is not allowed here");
    const bool flow = code == '[' || code == '{' || code == ',';
    if (flow && ++flow_marks > kLimits.max_flow_marks) {
      stop("more brackets and commas than a config can need");
    }
    line += code == '\n';
    i += size_t(length);
  }
}

/// The first line, from 0, up to `last` that a tab indents; empty where there is none.
std::optional<int> line_with_tab(std::string_view text, int last) {
  for (int line = 0; line <= last; ++line) {
    const size_t end = std::min(text.find('\n'), text.size());
    const size_t letter = text.find_first_not_of(" \t\r");
    if (letter < end && text.substr(0, letter).find('\t') != std::string_view::npos) return line;
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return {};
}

void tell_syntax(const YAML::Exception& error, std::string_view text, const Place& start,
                 Faults& faults) {
  if (const auto line = line_with_tab(text, error.mark.line)) {
    faults.add(place_of(start, *line), "a tab indents this line; YAML takes spaces only");
  } else {
    faults.add(place_of(start, error.mark.line), "not valid YAML: {}", error.msg);
  }
}

bool reads_as_other_than_text(std::string_view text) {
  static constexpr std::string_view kWords[] = {"null", "true", "false", "yes", "no",
                                                "on",   "off",  "y",     "n",   "auto"};
  std::string lower(text);
  std::ranges::transform(lower, lower.begin(), [](unsigned char c) { return char(tolower(c)); });
  return std::ranges::find(kWords, lower) != std::end(kWords);
}

}  // namespace

std::optional<YamlNode> parse_yaml(std::string_view text, const Place& start, Faults& faults) {
  std::istringstream stream{std::string(text)};
  TreeBuilder builder(start, faults);
  try {
    check_bytes(text, start, faults);
    YAML::Parser parser(stream);
    if (!parser.HandleNextDocument(builder)) {
      YamlNode empty;
      empty.place = start;
      return empty;
    }
    parser.HandleNextDocument(builder);  // which stops at one
    return builder.take_root();
  } catch (const Stop&) {  // told
  } catch (const YAML::Exception& error) {
    tell_syntax(error, text, start, faults);
  }
  return std::nullopt;
}

std::string yaml_text(std::string_view text) {
  const auto letter = [](unsigned char c) { return isalpha(c) || c == '/' || c == '_'; };
  const auto plain = [](unsigned char c) {
    return isalnum(c) || c == '/' || c == '_' || c == '-' || c == '.';
  };
  if (!text.empty() && letter(text[0]) && std::ranges::all_of(text, plain) &&
      !reads_as_other_than_text(text)) {
    return std::string(text);
  }
  std::string quoted = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      quoted += '\\';
      quoted += c;
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      quoted += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
    } else {
      quoted += c;
    }
  }
  return quoted + '"';
}

std::string one_line(std::string_view text) {
  constexpr size_t kMost = 60;
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    const bool continues = (byte & 0xc0) == 0x80;
    if (i >= kMost && !continues) return out + "…";
    if (byte < 0x20 || byte == 0x7f) {
      out += fmt::format("\\x{:02x}", byte);
    } else {
      out += text[i];
    }
  }
  return out;
}

std::string shown(std::string_view text) { return "'" + one_line(text) + "'"; }

}  // namespace tessera::launch
