// Runs a program once: the state of one render.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "launch/text/jinja/failure.h"
#include "launch/text/jinja/loop.h"
#include "launch/text/jinja/objects.h"
#include "launch/text/jinja/syntax.h"
#include "launch/text/jinja/template.h"

namespace tessera::launch::jinja {

/// The variables of one run of a function.
struct Frame : std::enable_shared_from_this<Frame> {
  Frame(std::shared_ptr<Frame> around, int count);

  Value& at(const Slot& slot) {
    Frame* frame = this;
    for (int hop = 0; hop < slot.hops; ++hop) frame = frame->outer.get();
    return frame->slots[size_t(slot.index)];
  }

  const std::shared_ptr<Frame> outer;
  std::vector<Value> slots;
  bool kept = false;
};

class Macro final : public Callable {
 public:
  Macro(const Function& function, std::shared_ptr<Frame> frame)
      : function_(function), frame_(std::move(frame)) {}
  const char* type_name() const override { return "Macro"; }
  Text repr(Budget& budget) const override;
  Value call(Interpreter& interpreter, Arguments& arguments) override;
  const Function& function() const { return function_; }

 private:
  const Function& function_;
  const std::shared_ptr<Frame> frame_;  // around the function
};

class Interpreter {
 public:
  Interpreter(const Program& program, const Value& variables, int64_t now);
  ~Interpreter();
  Interpreter(const Interpreter&) = delete;
  Interpreter& operator=(const Interpreter&) = delete;

  Rendered run();
  /// Of what runs, for errors.
  int line() const { return line_; }

  Budget& budget() { return budget_; }
  int64_t now() const { return now_; }

  Value call(const Value& function, Arguments& arguments);
  /// object[key] and object.key, which look for the other one, too, and else are undefined.
  /// `name`: the key for messages, or null; it must outlive the render.
  Value get_item(const Value& object, const Value& key, const std::string* name = nullptr);
  Value get_attribute(const Value& object, const Value& key, const std::string* name = nullptr);
  Value filter(std::string_view name, const Value& input, Arguments& arguments);
  bool test(std::string_view name, const Value& input, Arguments& arguments);
  Text call_function(const Function& function, const std::shared_ptr<Frame>& around,
                     Arguments& arguments);
  /// Remembers a namespace, so that it can be emptied at the end: it may hold itself.
  std::shared_ptr<Namespace> make_namespace(Dict attributes);

 private:
  enum class Flow { kOn, kBreak, kContinue };

  /// One more expression or block within another, while it lives.
  class Depth {
   public:
    explicit Depth(Interpreter& interpreter) : depth_(interpreter.depth_) {
      if (++depth_ > kMaxRunDepth) throw LimitFailure("the template nests too deeply as it runs");
    }
    ~Depth() { --depth_; }
    Depth(const Depth&) = delete;
    Depth& operator=(const Depth&) = delete;

   private:
    int& depth_;
  };

  // Statements.
  Flow run(const std::vector<Statement>& body, Frame& frame);
  Flow run(const Statement& statement, Frame& frame);
  void print(const Value& value);
  void print(const Text& text);
  Flow run_if(const Statement& statement, Frame& frame);
  Flow run_for(const Statement& loop, Frame& frame);
  /// `around`: the frame that the loop stands in; `frame` is another one when it is recursive.
  Flow run_loop(const Statement& loop, const Value& iterable, Frame& frame, Frame& around,
                int depth);
  Text run_recursive(const Statement& loop, const Value& iterable, Frame& around, int depth);
  LoopItems::Filter loop_filter(const Statement& loop, Frame& frame);
  void run_set(const Statement& set, Frame& frame);
  Flow run_set_block(const Statement& set, Frame& frame);
  Flow run_filter_block(const Statement& block, Frame& frame);
  Flow run_with(const Statement& with, Frame& frame);
  void run_call_block(const Statement& block, Frame& frame);
  void run_generation(const Statement& block, Frame& frame);
  Value make_macro(const Function& function, Frame& frame);
  /// Gives the parameters of a call their values, as far as it has them.
  void bind(const Function& function, Arguments& arguments, Frame& frame);
  void assign(const Expression& target, const Value& value, Frame& frame);
  void check_namespaces(const Expression& target, Frame& frame);
  void begin(const Scope& scope, Frame& frame);
  void end(const Scope& scope, Frame& frame);
  /// What `body` prints; `flow` is how it ended.
  Text capture(const std::vector<Statement>& body, Frame& frame, Flow& flow);
  void keep(Frame& frame);

  // Expressions.
  Value eval(const Expression& expression, Frame& frame);
  Value eval_name(const Expression& name, Frame& frame);
  Value eval_dict(const Expression& dict, Frame& frame);
  Value eval_arithmetic(const Expression& expression, Frame& frame);
  Value eval_item(const Expression& item, Frame& frame);
  Value eval_concat(const Expression& concat, Frame& frame);
  Value eval_compare(const Expression& compare, Frame& frame);
  bool compare(const Value& a, Comparison comparison, const Value& b);
  Value eval_logic(const Expression& logic, Frame& frame);
  Value eval_condition(const Expression& condition, Frame& frame);
  Value eval_slice(const Expression& slice, Frame& frame);
  Value eval_call(const Expression& call, Frame& frame, const Value* caller);
  Value eval_filter(const Expression& filter, const Value& input, Frame& frame);
  Value eval_block_filter(const Expression& filter, const Value& input, Frame& frame);
  Value eval_test(const Expression& test, Frame& frame);
  Arguments eval_arguments(const Expression& call, Frame& frame);
  List eval_parts(const Expression& expression, Frame& frame);

  const Program& program_;
  const int64_t now_;
  Budget budget_;
  int line_ = 1;
  int depth_ = 0;
  std::vector<Value> variables_;
  Text root_;           // what the template printed so far
  Text* out_ = &root_;  // what prints now: the root or what is captured
  struct Span {
    size_t begin;   // an offset in root_
    size_t points;  // code points
  };
  std::vector<Span> generation_;
  std::vector<std::shared_ptr<Frame>> frames_;  // that macros hold
  std::vector<std::shared_ptr<Namespace>> namespaces_;
};

/// What a variable holds before it is set: undefined, but not a value.
Value missing();
bool is_missing(const Value& value);

}  // namespace tessera::launch::jinja
