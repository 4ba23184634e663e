#include "launch/yaml.h"

#include <utf8proc.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <cctype>
#include <optional>
#include <sstream>
#include <unordered_map>

#include "runtime/core/error.h"

namespace tessera::launch {

namespace {

constexpr YamlLimits kLimits;

/// Builds the tree; every rule of the header is checked as the events come.
class TreeBuilder final : public YAML::EventHandler {
 public:
  TreeBuilder(std::shared_ptr<const std::string> source, bool lines)
      : source_(std::move(source)), lines_(lines) {}

  YamlNode take_root() { return std::move(root_); }

  /// Where the document begins.
  const Place& start() const { return start_; }

  void OnDocumentStart(const YAML::Mark& mark) override { start_ = at(mark); }
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    const Place place = at(mark);
    refuse_anchor(place, anchor);
    if (key_expected()) fail_usage("{}: a key is missing before ':'", place.text());
    add(node(YamlNode::Kind::kNull, place));
  }

  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
    fail_usage("{}: an alias (*name) is not allowed here; write the value out", at(mark).text());
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
    std::optional<YamlEntry> entry;              // of a map: the key whose value comes next
    std::unordered_map<std::string, int> lines;  // of a map: where each key was written
  };

  Place at(const YAML::Mark& mark) const { return {source_, lines_ ? mark.line + 1 : 0}; }

  YamlNode node(YamlNode::Kind kind, const Place& place) {
    if (++nodes_ > kLimits.max_nodes) {
      fail_usage("{}: more than {} values", place.text(), kLimits.max_nodes);
    }
    YamlNode made;
    made.kind = kind;
    made.place = place;
    return made;
  }

  static void refuse_anchor(const Place& place, YAML::anchor_t anchor) {
    if (anchor != YAML::NullAnchor) {
      fail_usage("{}: an anchor (&name) is not allowed here; write the value out", place.text());
    }
  }

  // The parser reports "?" for an untagged node and "!" for a quoted scalar.
  static void refuse_tag(const Place& place, const std::string& tag) {
    if (tag.empty() || tag == "?" || tag == "!") return;
    fail_usage("{}: the tag {} is not allowed here; remove it", place.text(), shown(tag));
  }

  bool key_expected() const {
    return !stack_.empty() && stack_.back().node.kind == YamlNode::Kind::kMap &&
           !stack_.back().entry;
  }

  void begin_entry(const Place& place, const std::string& key, const std::string& tag) {
    if (key == "<<" && tag != "!") {
      fail_usage("{}: a merge key (<<) is not allowed here; write the keys out", place.text());
    }
    Frame& frame = stack_.back();
    const auto [first, fresh] = frame.lines.emplace(key, place.line);
    if (!fresh) {
      fail_usage("{}: {} is given twice, first in line {}; keep one", place.text(), shown(key),
                 first->second);
    }
    frame.entry = YamlEntry{key, place, {}};
  }

  void open(YamlNode::Kind kind, const YAML::Mark& mark, const std::string& tag,
            YAML::anchor_t anchor) {
    const Place place = at(mark);
    refuse_anchor(place, anchor);
    refuse_tag(place, tag);
    // An open bracket at the end of the text comes as a key too.
    if (key_expected())
      fail_usage("{}: a key must be plain text; is a bracket left open?", place.text());
    if (stack_.size() >= kLimits.max_depth) {
      fail_usage("{}: nested more than {} deep", place.text(), kLimits.max_depth);
    }
    stack_.push_back({node(kind, place), {}, {}});
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
    frame.entry->value = std::move(value);
    frame.node.entries.push_back(std::move(*frame.entry));
    frame.entry.reset();
  }

  std::shared_ptr<const std::string> source_;
  bool lines_;
  std::vector<Frame> stack_;
  YamlNode root_;
  Place start_;
  size_t nodes_ = 0;
};

/// Bytes the parser would misread (it ends its input at a 0x04) or cannot take in bounded memory.
void check_bytes(std::string_view text, const Place& source) {
  Place place = source;
  const auto fail_at = [&](std::string_view what) { fail_usage("{}: {}", place.text(), what); };
  if (text.size() > kLimits.max_bytes) {
    fail_usage("{}: {} bytes, more than the {} that a config may have", *source.source, text.size(),
               kLimits.max_bytes);
  }
  size_t flow_marks = 0;
  for (size_t i = 0; i < text.size();) {
    int32_t code = 0;
    const auto* bytes = reinterpret_cast<const utf8proc_uint8_t*>(text.data() + i);
    const auto length = utf8proc_iterate(bytes, utf8proc_ssize_t(text.size() - i), &code);
    if (length <= 0) fail_at("not valid UTF-8");
    const bool space = code == '\n' || code == '\t' || code == '\r';
    if ((code < 0x20 && !space) || code == 0x7f) fail_at("a control character is not allowed here");
    const bool flow = code == '[' || code == '{' || code == ',';
    if (flow && ++flow_marks > kLimits.max_flow_marks) {
      fail_at("more brackets and commas than a config can need");
    }
    if (code == '\n' && place.line > 0) ++place.line;
    i += size_t(length);
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

std::string Place::text() const { return line > 0 ? fmt::format("{}:{}", *source, line) : *source; }

YamlNode parse_yaml(std::string_view text, std::string_view source, bool lines) {
  const auto name = std::make_shared<const std::string>(source);
  YamlNode empty;
  empty.place = {name, lines ? 1 : 0};
  check_bytes(text, empty.place);
  std::istringstream stream{std::string(text)};
  TreeBuilder builder(name, lines);
  try {
    YAML::Parser parser(stream);
    if (!parser.HandleNextDocument(builder)) return empty;
    YamlNode root = builder.take_root();
    TreeBuilder second(name, lines);
    if (parser.HandleNextDocument(second)) {
      fail_usage("{}: a second document begins here; a config is one", second.start().text());
    }
    return root;
  } catch (const YAML::Exception& error) {
    const Place place{name, lines ? error.mark.line + 1 : 0};
    fail_usage("{}: not valid YAML: {}", place.text(), error.msg);
  }
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
