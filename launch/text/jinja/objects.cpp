#include "launch/text/jinja/objects.h"

#include <algorithm>

#include "launch/text/jinja/format.h"
#include "launch/text/jinja/strings.h"

namespace tessera::launch::jinja {

int64_t Range::size() const {
  // Unsigned, for the distance between two integers can be too large for int64_t.
  const auto steps_between = [](int64_t low, int64_t high, uint64_t stride) {
    return low >= high ? 0 : int64_t((uint64_t(high) - uint64_t(low) - 1) / stride + 1);
  };
  return step > 0 ? steps_between(start, stop, uint64_t(step))
                  : steps_between(stop, start, uint64_t{0} - uint64_t(step));
}

bool Range::equals(const Object& other) const {
  const auto* range = dynamic_cast<const Range*>(&other);
  if (!range || range->size() != size()) return false;
  return size() == 0 || (start == range->start && (size() == 1 || step == range->step));
}

Text Range::repr(Budget&) const {
  return step == 1 ? fmt::format("range({}, {})", start, stop)
                   : fmt::format("range({}, {}, {})", start, stop, step);
}

const char* DictView::type_name() const {
  return part == Part::kKeys ? "dict_keys" : part == Part::kValues ? "dict_values" : "dict_items";
}

bool DictView::equals(const Object& other) const {
  if (this == &other) return true;
  if (dynamic_cast<const DictView*>(&other)) raise_error("comparing views is not supported");
  return false;
}

Value DictView::at(size_t index) const {
  const auto& [key, value] = dict.dict().entries()[index];
  return part == Part::kKeys ? key : part == Part::kValues ? value : Value::tuple({key, value});
}

Text DictView::repr(Budget& budget) const {
  List items;
  for (size_t i = 0; i < dict.dict().size(); ++i) items.push_back(at(i));
  Text text = fmt::format("{}(", type_name());
  text.append(repr_of(Value::list(std::move(items)), budget));
  text.write(")");
  return text;
}

Generator::Generator(List all, std::exception_ptr error, const char* name)
    : items_(std::move(all)), error_(std::move(error)), name_(name) {
  for (const Value& item : items_) {
    depth_ = std::max(depth_, item.depth() + 1);
    weight_ += item.weight();
    if (weight_ > kMaxWeight) throw LimitFailure("a value is too large");
  }
}

std::optional<Value> Generator::next() {
  if (taken_ < items_.size()) return items_[taken_++];
  if (error_) std::rethrow_exception(error_);
  return std::nullopt;
}

Text Namespace::repr(Budget& budget) const {
  if (printing_) return "<Namespace {...}>";
  const Budget::Level level(budget);
  printing_ = true;
  Text text = "<Namespace ";
  text.append(repr_of(attributes, budget));
  text.write(">");
  printing_ = false;
  return text;
}

Value Joiner::call(Interpreter&, Arguments& arguments) {
  if (!arguments.positional.empty() || !arguments.named.empty()) {
    raise_error("a joiner takes no arguments");
  }
  if (used_) return separator_;
  used_ = true;
  return "";
}

}  // namespace tessera::launch::jinja
