// Filters that order, cut and join what can be iterated over.
#include <algorithm>

#include "launch/text/jinja/arithmetic.h"
#include "launch/text/jinja/filter_arguments.h"
#include "launch/text/jinja/filters.h"
#include "launch/text/jinja/format.h"
#include "launch/text/jinja/operations.h"
#include "launch/text/jinja/parameters.h"
#include "launch/text/jinja/strings.h"

namespace tessera::launch::jinja {
namespace {

/// An item and what it is ordered by.
using Keyed = std::pair<Value, Value>;

void sort_by_key(std::vector<Keyed>& entries, bool reverse, Budget& budget) {
  std::stable_sort(entries.begin(), entries.end(), [&](const Keyed& a, const Keyed& b) {
    budget.steps(std::min(a.second.weight(), b.second.weight()));
    return reverse ? ordered(b.second, Order::kLess, a.second)
                   : ordered(a.second, Order::kLess, b.second);
  });
}

List items_of(std::vector<Keyed> entries) {
  List items;
  for (Keyed& entry : entries) items.push_back(std::move(entry.first));
  return items;
}

Value batch(Interpreter& interpreter, const Value& input, Arguments& arguments) {
  const Parameters given("batch", arguments, {"linecount", "fill_with"}, 1);
  return generate([&](List& batches) {
    List batch;
    const Value& count = given.at(0);
    for (const Value& item : to_list(input, interpreter.budget())) {
      if (equals(int64_t(batch.size()), count)) {
        batches.push_back(Value::list(std::exchange(batch, {})));
      }
      batch.push_back(item);
    }
    if (batch.empty()) return;
    if (!given.get(1, {}).is_none() && ordered(int64_t(batch.size()), Order::kLess, count)) {
      const int64_t missing = index_of(count, "batch") - int64_t(batch.size());
      interpreter.budget().steps(size_t(missing));
      batch.resize(batch.size() + size_t(missing), given.at(1));
    }
    batches.push_back(Value::list(std::move(batch)));
  });
}

Value slice_filter(Interpreter& interpreter, const Value& input, Arguments& arguments) {
  const Parameters given("slice", arguments, {"slices", "fill_with"}, 1);
  return generate([&](List& slices) {
    const List items = to_list(input, interpreter.budget());
    const int64_t count = index_of(given.at(0), "slice");
    if (count == 0) raise_error("integer division or modulo by zero");
    if (count < 0) return;
    interpreter.budget().steps(size_t(count));
    const int64_t each = int64_t(items.size()) / count, longer = int64_t(items.size()) % count;
    auto at = items.begin();
    for (int64_t i = 0; i < count; ++i) {
      const auto end = at + each + (i < longer);
      List slice(at, end);
      at = end;
      if (!given.get(1, {}).is_none() && i >= longer) slice.push_back(given.at(1));
      slices.push_back(Value::list(std::move(slice)));
    }
  });
}

Value dictsort(Interpreter& interpreter, const Value& input, Arguments& arguments) {
  const Parameters given("dictsort", arguments, {"case_sensitive", "by", "reverse"});
  const std::string by = given.find(1) ? str_of(given.at(1), interpreter.budget()).bytes : "key";
  if (by != "key" && by != "value") raise_error("dictsort: sorts by either 'key' or 'value'");
  check_defined(input);
  if (!input.is(Kind::kDict)) {
    raise_error("dictsort: expected a dict, got {}", input.type_name());
  }
  std::vector<Keyed> entries;
  for (const auto& [key, value] : input.dict().entries()) {
    interpreter.budget().steps(1);
    entries.emplace_back(Value::tuple({key, value}),
                         fold_case(interpreter, by == "key" ? key : value, given.truth(0, false)));
  }
  sort_by_key(entries, given.truth(2, false), interpreter.budget());
  return Value::list(items_of(std::move(entries)));
}

Value first(Interpreter& interpreter, const Value& input, Arguments& arguments) {
  Parameters("first", arguments, {});
  interpreter.budget().steps(1);
  return Cursor(input).next().value_or(Value::undefined());
}

/// reversed(value) as a list, or nothing for what only goes forwards.
std::optional<List> reversed(Interpreter& interpreter, const Value& value) {
  if (!Cursor::iterates(value) || value.as<Generator>()) return std::nullopt;
  List items = to_list(value, interpreter.budget());
  std::reverse(items.begin(), items.end());
  return items;
}

Value last(Interpreter& interpreter, const Value& input, Arguments& arguments) {
  Parameters("last", arguments, {});
  if (input.is_sequence()) {
    return input.items().empty() ? Value::undefined() : input.items().back();
  }
  const auto items = reversed(interpreter, input);
  if (!items) raise_error("'{}' object is not reversible", input.type_name());
  return items->empty() ? Value::undefined() : items->front();
}

Value reverse(Interpreter& interpreter, const Value& input, Arguments& arguments) {
  Parameters("reverse", arguments, {});
  if (input.is_string()) return slice_of(input, {{}, {}, -1}, interpreter.budget());
  if (auto items = reversed(interpreter, input)) {
    return std::make_shared<Generator>(std::move(*items), nullptr, "reversed");
  }
  List items = to_list(input, interpreter.budget());
  std::reverse(items.begin(), items.end());
  return Value::list(std::move(items));
}

Value groupby(Interpreter& interpreter, const Value& input, Arguments& arguments) {
  const Parameters given("groupby", arguments, {"attribute", "default", "case_sensitive"}, 1);
  const AttributeGetter get(interpreter, given.at(0), given.get(1, {}));
  const bool case_sensitive = given.truth(2, false);
  std::vector<Keyed> entries;
  for (const Value& item : to_list(input, interpreter.budget())) {
    entries.emplace_back(item, fold_case(interpreter, get(item), case_sensitive));
  }
  sort_by_key(entries, false, interpreter.budget());
  List groups;
  for (size_t begin = 0; begin < entries.size();) {
    List members;
    const Value& key = entries[begin].second;
    size_t end = begin;
    for (; end < entries.size() && equals(entries[end].second, key); ++end) {
      interpreter.budget().steps(key.weight());
      members.push_back(entries[end].first);
    }
    if (end == begin) members.push_back(entries[end++].first);  // a nan equals nothing
    Value grouper = case_sensitive ? key : get(members[0]);
    groups.push_back(Value::group(std::move(grouper), Value::list(std::move(members))));
    begin = end;
  }
  return Value::list(std::move(groups));
}

Value items_filter(Interpreter& interpreter, const Value& input, Arguments& arguments) {
  Parameters("items", arguments, {});
  return generate([&](List& pairs) {
    if (input.is_undefined()) return;
    if (!input.is(Kind::kDict)) raise_error("items: can only get item pairs from a mapping");
    for (const auto& [key, value] : input.dict().entries()) {
      interpreter.budget().steps(1);
      pairs.push_back(Value::tuple({key, value}));
    }
  });
}

Value join_filter(Interpreter& interpreter, const Value& input, Arguments& arguments) {
  const Parameters given("join", arguments, {"d", "attribute"});
  Budget& budget = interpreter.budget();
  const AttributeGetter get(interpreter, given.get(1, {}));
  std::vector<Text> parts;
  size_t size = 0;
  for (const Value& item : to_list(input, budget)) {
    parts.push_back(str_of(get(item), budget));
    budget.bytes(parts.back().size());
    size += parts.back().size();
    if (size > kMaxTextBytes) budget.bytes(size);
  }
  return join(str_of(given.get(0, ""), budget), parts, budget);
}

Value list(Interpreter& interpreter, const Value& input, Arguments& arguments) {
  Parameters("list", arguments, {});
  return Value::list(to_list(input, interpreter.budget()));
}

template <Order kOrder>
Value extreme(Interpreter& interpreter, const Value& input, Arguments& arguments) {
  const Parameters given("min", arguments, {"case_sensitive", "attribute"});
  const AttributeGetter get(interpreter, given.get(1, {}));
  const List items = to_list(input, interpreter.budget());
  if (items.empty()) return Value::undefined();
  const auto key_of = [&](const Value& item) {
    return fold_case(interpreter, get(item), given.truth(0, false));
  };
  size_t best = 0;
  Value best_key = key_of(items[0]);
  for (size_t i = 1; i < items.size(); ++i) {
    Value key = key_of(items[i]);
    interpreter.budget().steps(std::min(key.weight(), best_key.weight()));
    if (!ordered(key, kOrder, best_key)) continue;
    best = i;
    best_key = std::move(key);
  }
  return items[best];
}

Value sort(Interpreter& interpreter, const Value& input, Arguments& arguments) {
  const Parameters given("sort", arguments, {"reverse", "case_sensitive", "attribute"});
  std::vector<AttributeGetter> getters;
  const Value attribute = given.get(2, {});
  if (attribute.is_string()) {
    for (Text& part : split(attribute.text(), ",", -1, false)) {
      getters.emplace_back(interpreter, Value(std::move(part)));
    }
  } else {
    getters.emplace_back(interpreter, attribute);
  }
  std::vector<Keyed> entries;
  for (const Value& item : to_list(input, interpreter.budget())) {
    List key;
    for (const AttributeGetter& get : getters) {
      key.push_back(fold_case(interpreter, get(item), given.truth(1, false)));
    }
    entries.emplace_back(item, Value::list(std::move(key)));
  }
  sort_by_key(entries, given.truth(0, false), interpreter.budget());
  return Value::list(items_of(std::move(entries)));
}

Value sum(Interpreter& interpreter, const Value& input, Arguments& arguments) {
  const Parameters given("sum", arguments, {"attribute", "start"});
  const AttributeGetter get(interpreter, given.get(0, {}));
  Value total = given.get(1, int64_t{0});
  if (total.is_string()) raise_error("sum: cannot sum strings");
  for (const Value& item : to_list(input, interpreter.budget())) {
    total = compute(std::move(total), Arithmetic::kAdd, get(item), interpreter.budget());
  }
  return total;
}

Value unique(Interpreter& interpreter, const Value& input, Arguments& arguments) {
  const Parameters given("unique", arguments, {"case_sensitive", "attribute"});
  const AttributeGetter get(interpreter, given.get(1, {}));
  return generate([&](List& items) {
    Dict seen;
    for (const Value& item : to_list(input, interpreter.budget())) {
      const Value key = fold_case(interpreter, get(item), given.truth(0, false));
      interpreter.budget().steps(key.weight());
      if (seen.find(key)) continue;
      seen.set(key, {});
      items.push_back(item);
    }
  });
}

constexpr NamedFilter kListFilters[] = {{"batch", batch},
                                        {"dictsort", dictsort},
                                        {"first", first},
                                        {"groupby", groupby},
                                        {"items", items_filter},
                                        {"join", join_filter},
                                        {"last", last},
                                        {"list", list},
                                        {"max", extreme<Order::kGreater>},
                                        {"min", extreme<Order::kLess>},
                                        {"reverse", reverse},
                                        {"slice", slice_filter},
                                        {"sort", sort},
                                        {"sum", sum},
                                        {"unique", unique}};

}  // namespace

std::span<const NamedFilter> list_filters() { return kListFilters; }

}  // namespace tessera::launch::jinja
