#include "launch/config/scheduler_keys.h"

#include "runtime/core/nearest.h"

namespace tessera::launch {

namespace {

using optim::Ramp;
using optim::SchedulerArgument;
using optim::SchedulerArguments;

constexpr std::string_view kScheduler = "lr_scheduler", kKey = "lr_scheduler_kwargs";

/// Calls f(field, type) with the type that reads the argument's values.
template <class F>
void with_type(const SchedulerArgument& argument, F&& f) {
  static const ChoiceType<Ramp> ramps = {
      {{Ramp::kLinear, "linear"}, {Ramp::kCosine, "cosine"}, {Ramp::kOneMinusSqrt, "1-sqrt"}}};
  std::visit(
      [&](auto field) {
        using Field = decltype(field);
        if constexpr (std::is_same_v<Field, SchedulerArgument::Real>) {
          f(field, RealType{.low = argument.low, .high = argument.high});
        } else if constexpr (std::is_same_v<Field, SchedulerArgument::Whole>) {
          f(field, IntType{int64_t(argument.low), int64_t(argument.high)});
        } else {
          f(field, ramps);
        }
      },
      argument.field);
}

const SchedulerArgument* find_argument(std::string_view key) {
  for (const SchedulerArgument& argument : optim::scheduler_arguments()) {
    if (argument.key == key) return &argument;
  }
  return nullptr;
}

void tell_unknown(const YamlEntry& entry, const Setting& setting) {
  std::vector<std::string_view> keys;
  for (const SchedulerArgument& argument : optim::scheduler_arguments()) {
    keys.push_back(argument.key);
  }
  const std::string_view near = nearest_of(entry.key, keys);
  setting.faults.add(entry.place, "{}: no scheduler takes {}; {}", setting.key, shown(entry.key),
                     near.empty() ? fmt::format("arguments are {}", fmt::join(keys, ", "))
                                  : fmt::format("did you mean '{}'?", near));
}

}  // namespace

std::optional<SchedulerArguments> SchedulerArgumentsType::read(const Setting& setting) const {
  if (setting.value.kind != YamlNode::Kind::kMap) return setting.expected(describe());
  SchedulerArguments arguments;
  bool ok = true;
  for (const YamlEntry& entry : setting.value.entries) {
    const SchedulerArgument* argument = find_argument(entry.key);
    if (argument == nullptr) tell_unknown(entry, setting);
    ok = ok && argument != nullptr && !entry.repeated;
    if (argument == nullptr || entry.value.kind == YamlNode::Kind::kNull) continue;
    with_type(*argument, [&](auto field, const auto& type) {
      const std::string key = fmt::format("{}: {}", setting.key, entry.key);
      arguments.*field = type.read({key, entry.value, setting.faults});
      ok = ok && arguments.*field;
    });
  }
  return ok ? std::optional(arguments) : std::nullopt;
}

std::string SchedulerArgumentsType::write(const SchedulerArguments& value) const {
  std::string out;
  for (const SchedulerArgument& argument : optim::scheduler_arguments()) {
    with_type(argument, [&](auto field, const auto& type) {
      if (!(value.*field)) return;
      out += fmt::format("{}{}: {}", out.empty() ? "" : ", ", argument.key,
                         type.write(*(value.*field)));
    });
  }
  return out.empty() ? "null" : "{" + out + "}";
}

void check_scheduler(const Config& config, const Settings& settings, Faults& faults) {
  const optim::SchedulerFault fault =
      optim::fault_of(config.lr_scheduler, config.lr_scheduler_kwargs, config.learning_rate);
  if (fault.text.empty()) return;
  for (const std::string_view key : {std::string_view("learning_rate"), kScheduler, kKey}) {
    if (faults.doubts(key)) return;
  }
  const auto arguments = settings.find(kKey);
  const auto scheduler = settings.find(kScheduler);
  // The line of the argument, else that of the scheduler which needs it. One of the two is given:
  // the default of each has no fault.
  Place place = scheduler != settings.end() ? scheduler->second.place : arguments->second.place;
  if (arguments != settings.end()) {
    for (const YamlEntry& entry : arguments->second.value.entries) {
      if (entry.key == fault.key) place = entry.place;
    }
  }
  faults.add(place, "{}: {}", kKey, fault.text);
}

}  // namespace tessera::launch
