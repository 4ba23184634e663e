#include "launch/text/jinja/interpreter.h"

#include <algorithm>

#include "launch/text/jinja/format.h"
#include "launch/text/jinja/globals.h"
#include "launch/text/jinja/operations.h"
#include "launch/text/jinja/strings.h"

namespace tessera::launch::jinja {
namespace {

using Tag = Statement::Kind;

const std::string kMissing;

}  // namespace

Value missing() { return Value::undefined(&kMissing); }

bool is_missing(const Value& value) {
  return value.is_undefined() && value.undefined_name() == &kMissing;
}

Frame::Frame(std::shared_ptr<Frame> around, int count)
    : outer(std::move(around)), slots(size_t(count), missing()) {}

Text Macro::repr(Budget&) const {
  return function_.name.empty() ? "<Macro anonymous>" : fmt::format("<Macro '{}'>", function_.name);
}

Value Macro::call(Interpreter& interpreter, Arguments& arguments) {
  return interpreter.call_function(function_, frame_, arguments);
}

Interpreter::Interpreter(const Program& program, const Value& variables, int64_t now)
    : program_(program), now_(now) {
  for (const std::string& name : program.variables) {
    const Value* given = variables.dict().find(name);
    variables_.push_back(given ? *given : global(name).value_or(missing()));
  }
}

Interpreter::~Interpreter() {
  // What macros and namespaces hold may hold them.
  for (const auto& frame : frames_) frame->slots.clear();
  for (const auto& space : namespaces_) space->attributes = {};
}

Rendered Interpreter::run() {
  const auto frame = std::make_shared<Frame>(nullptr, program_.root.slot_count);
  begin(program_.root.scope, *frame);
  run(program_.root.body, *frame);
  Rendered rendered;
  for (const Span& span : generation_) {
    const std::string_view rest = std::string_view(root_.bytes).substr(span.begin);
    rendered.generation.emplace_back(span.begin, span.begin + offset_of(rest, span.points));
  }
  rendered.text = std::move(root_.bytes);
  rendered.marks = std::move(root_.marks);
  return rendered;
}

void Interpreter::keep(Frame& frame) {
  if (frame.kept) return;
  frame.kept = true;
  budget_.steps(frame.slots.size() + 1);
  frames_.push_back(frame.shared_from_this());
}

std::shared_ptr<Namespace> Interpreter::make_namespace(Dict attributes) {
  budget_.steps(8 + attributes.size());
  namespaces_.push_back(std::make_shared<Namespace>());
  namespaces_.back()->attributes = std::move(attributes);
  return namespaces_.back();
}

void Interpreter::begin(const Scope& scope, Frame& frame) {
  for (const Load& load : scope.loads) {
    Value& slot = frame.slots[size_t(load.slot)];
    switch (load.kind) {
      case Load::Kind::kUndefined:
        slot = missing();
        break;
      case Load::Kind::kAlias:
        slot = frame.at(load.from);
        break;
      case Load::Kind::kVariable:
        slot = variables_[size_t(load.variable)];
    }
  }
}

void Interpreter::end(const Scope& scope, Frame& frame) {
  for (const int slot : scope.slots) frame.slots[size_t(slot)] = missing();
}

Interpreter::Flow Interpreter::run(const std::vector<Statement>& body, Frame& frame) {
  const Depth depth(*this);
  for (const Statement& statement : body) {
    budget_.steps(1);
    const Flow flow = run(statement, frame);
    if (flow != Flow::kOn) return flow;
  }
  return Flow::kOn;
}

Interpreter::Flow Interpreter::run(const Statement& statement, Frame& frame) {
  line_ = statement.line;
  switch (statement.kind) {
    case Tag::kText:
      budget_.bytes(statement.text.size());
      out_->write(statement.text);
      break;
    case Tag::kPrint:
      print(eval(statement.value, frame));
      break;
    case Tag::kIf:
      return run_if(statement, frame);
    case Tag::kFor:
      return run_for(statement, frame);
    case Tag::kSet:
      run_set(statement, frame);
      break;
    case Tag::kSetBlock:
      return run_set_block(statement, frame);
    case Tag::kMacro:
      frame.at(statement.target.slot) = make_macro(*statement.function, frame);
      break;
    case Tag::kCallBlock:
      run_call_block(statement, frame);
      break;
    case Tag::kFilterBlock:
      return run_filter_block(statement, frame);
    case Tag::kWith:
      return run_with(statement, frame);
    case Tag::kGeneration:
      run_generation(statement, frame);
      break;
    case Tag::kBreak:
      return Flow::kBreak;
    case Tag::kContinue:
      return Flow::kContinue;
  }
  return Flow::kOn;
}

void Interpreter::print(const Value& value) {
  if (value.is_string()) {
    print(value.text());
  } else {
    print(str_of(value, budget_));
  }
}

void Interpreter::print(const Text& text) {
  budget_.bytes(text.size());
  out_->append(text);
  if (out_->size() > kMaxTextBytes) budget_.bytes(out_->size());
}

Text Interpreter::capture(const std::vector<Statement>& body, Frame& frame, Flow& flow) {
  Text text;
  Text* const around = std::exchange(out_, &text);
  flow = run(body, frame);  // after an exception nothing prints any more
  out_ = around;
  return text;
}

Interpreter::Flow Interpreter::run_if(const Statement& statement, Frame& frame) {
  if (truth(eval(statement.value, frame))) return run(statement.body, frame);
  for (const Statement& branch : statement.elifs) {
    line_ = branch.line;
    if (truth(eval(branch.value, frame))) return run(branch.body, frame);
  }
  return run(statement.otherwise, frame);
}

Interpreter::Flow Interpreter::run_for(const Statement& loop, Frame& frame) {
  const Value iterable = eval(loop.value, frame);
  if (!loop.recursive) return run_loop(loop, iterable, frame, frame, 0);
  print(run_recursive(loop, iterable, frame, 0));
  return Flow::kOn;
}

Text Interpreter::run_recursive(const Statement& loop, const Value& iterable, Frame& around,
                                int depth) {
  const Budget::Level level(budget_);
  const auto frame = std::make_shared<Frame>(around.shared_from_this(), loop.function->slot_count);
  Text text;
  Text* const before = std::exchange(out_, &text);
  run_loop(loop, iterable, *frame, around, depth);
  out_ = before;
  return text;
}

LoopItems::Filter Interpreter::loop_filter(const Statement& loop, Frame& frame) {
  if (!loop.filtered) return {};
  begin(loop.test_scope, frame);
  return [this, &loop, &frame](const Value& item) {
    budget_.steps(1);
    assign(loop.test_target, item, frame);
    return truth(eval(loop.test, frame));
  };
}

Interpreter::Flow Interpreter::run_loop(const Statement& statement, const Value& iterable,
                                        Frame& frame, Frame& around, int depth) {
  LoopItems items(iterable, loop_filter(statement, frame));
  std::shared_ptr<Loop> loop;
  if (statement.uses_loop) {
    budget_.steps(8);
    loop = std::make_shared<Loop>(std::move(items), iterable.depth(), depth);
    if (statement.recursive) {
      loop->recurse = [this, &statement, outer = around.shared_from_this()](const Value& inner,
                                                                            int inner_depth) {
        return Value(run_recursive(statement, inner, *outer, inner_depth));
      };
    }
  }
  bool finished_one = false;
  Flow flow = Flow::kOn;
  while (flow != Flow::kBreak) {
    std::optional<Value> item = loop ? loop->advance() : items.next();
    if (!item) break;
    budget_.steps(1);
    assign(statement.target, *item, frame);
    if (loop) frame.slots[size_t(statement.loop_slot)] = Value(loop);
    begin(statement.scope, frame);
    flow = run(statement.body, frame);
    finished_one = finished_one || flow == Flow::kOn;
  }
  if (loop) loop->finish();
  end(statement.scope, frame);
  if (statement.otherwise.empty() || finished_one) return Flow::kOn;
  begin(statement.else_scope, frame);
  flow = run(statement.otherwise, frame);
  end(statement.else_scope, frame);
  return flow;
}

void Interpreter::run_set(const Statement& set, Frame& frame) {
  check_namespaces(set.target, frame);
  assign(set.target, eval(set.value, frame), frame);
}

Interpreter::Flow Interpreter::run_set_block(const Statement& set, Frame& frame) {
  begin(set.scope, frame);
  Flow flow = Flow::kOn;
  Value value = capture(set.body, frame, flow);
  if (flow != Flow::kOn) return flow;
  if (set.filtered) value = eval_block_filter(set.value, value, frame);
  check_namespaces(set.target, frame);
  assign(set.target, value, frame);
  end(set.scope, frame);
  return flow;
}

Interpreter::Flow Interpreter::run_filter_block(const Statement& block, Frame& frame) {
  begin(block.scope, frame);
  Flow flow = Flow::kOn;
  const Value text = capture(block.body, frame, flow);
  if (flow != Flow::kOn) return flow;
  print(eval_block_filter(block.value, text, frame));
  end(block.scope, frame);
  return flow;
}

Interpreter::Flow Interpreter::run_with(const Statement& with, Frame& frame) {
  begin(with.scope, frame);
  for (size_t i = 0; i < with.targets.size(); ++i) {
    assign(with.targets[i], eval(with.values[i], frame), frame);
  }
  const Flow flow = run(with.body, frame);
  end(with.scope, frame);
  return flow;
}

Value Interpreter::make_macro(const Function& function, Frame& frame) {
  keep(frame);
  return std::make_shared<Macro>(function, frame.shared_from_this());
}

void Interpreter::run_call_block(const Statement& block, Frame& frame) {
  const Value caller = make_macro(*block.function, frame);
  print(eval_call(block.value, frame, &caller));
}

void Interpreter::run_generation(const Statement& block, Frame& frame) {
  Arguments none;
  const Text text = call_function(*block.function, frame.shared_from_this(), none);
  // As transformers counts, from what the template itself has printed: inside a macro or a
  // captured block this is not where the text comes to stand.
  generation_.push_back({root_.size(), count_points(text.bytes)});
  print(text);
}

void Interpreter::check_namespaces(const Expression& target, Frame& frame) {
  for (const Expression& part : target.parts) check_namespaces(part, frame);
  if (target.kind != Expression::Kind::kNamespaceItem) return;
  if (!frame.at(target.slot).as<Namespace>()) {
    raise_error("cannot assign attribute on non-namespace object");
  }
}

void Interpreter::assign(const Expression& target, const Value& value, Frame& frame) {
  if (target.kind == Expression::Kind::kName) {
    frame.at(target.slot) = value;
    return;
  }
  if (target.kind == Expression::Kind::kNamespaceItem) {
    auto* space = frame.at(target.slot).as<Namespace>();
    if (!space) raise_error("cannot assign attribute on non-namespace object");
    if (target.attribute.starts_with('_')) {
      raise_error("a namespace cannot have the attribute '{}'", target.attribute);
    }
    budget_.steps(1);
    space->attributes.set(Text(target.attribute), value);
    return;
  }
  const List items = to_list(value, budget_);
  if (items.size() != target.parts.size()) {
    raise_error("cannot unpack {} values into {}", items.size(), target.parts.size());
  }
  for (size_t i = 0; i < items.size(); ++i) assign(target.parts[i], items[i], frame);
}

Text Interpreter::call_function(const Function& function, const std::shared_ptr<Frame>& around,
                                Arguments& arguments) {
  const Budget::Level level(budget_);
  const auto frame = std::make_shared<Frame>(around, function.slot_count);
  budget_.steps(size_t(function.slot_count));
  bind(function, arguments, *frame);
  begin(function.scope, *frame);
  const size_t first_default = function.parameters.size() - function.defaults.size();
  for (size_t i = 0; i < function.parameters.size(); ++i) {
    Value& slot = frame->at(function.parameter_targets[i].slot);
    if (is_missing(slot)) {
      slot = i < first_default ? Value::undefined(&function.parameters[i])
                               : eval(function.defaults[i - first_default], *frame);
    }
  }
  Flow flow = Flow::kOn;
  return capture(function.body, *frame, flow);
}

void Interpreter::bind(const Function& function, Arguments& arguments, Frame& frame) {
  const size_t given = std::min(arguments.positional.size(), function.parameters.size());
  for (size_t i = 0; i < given; ++i) {
    frame.at(function.parameter_targets[i].slot) = arguments.positional[i];
  }
  const auto take = [&](const std::string& name) -> std::optional<Value> {
    const auto it = std::find_if(arguments.named.begin(), arguments.named.end(),
                                 [&](const auto& entry) { return entry.first.bytes() == name; });
    if (it == arguments.named.end()) return std::nullopt;
    Value value = std::move(it->second);
    arguments.named.erase(it);
    return value;
  };
  for (size_t i = given; i < function.parameters.size(); ++i) {
    if (auto value = take(function.parameters[i])) {
      frame.at(function.parameter_targets[i].slot) = std::move(*value);
    }
  }
  if (function.caller >= 0) {
    auto caller = take("caller");
    frame.slots[size_t(function.caller)] =
        caller && !caller->is_none() ? std::move(*caller) : Value::undefined();
  }
  if (function.kwargs >= 0) {
    Dict rest;
    for (auto& [name, value] : arguments.named) rest.set(name, value);
    frame.slots[size_t(function.kwargs)] = std::move(rest);
  } else if (!arguments.named.empty()) {
    raise_error("macro '{}' takes no keyword argument '{}'", function.name,
                arguments.named[0].first.bytes());
  }
  if (function.varargs >= 0) {
    frame.slots[size_t(function.varargs)] =
        Value::tuple({arguments.positional.begin() + ptrdiff_t(given), arguments.positional.end()});
  } else if (arguments.positional.size() > given) {
    raise_error("macro '{}' takes not more than {} argument(s)", function.name, given);
  }
}

}  // namespace tessera::launch::jinja
