// A parsed template. The parser builds the tree; scopes.h then gives each name its slot.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "launch/text/jinja/arithmetic.h"
#include "launch/text/jinja/operations.h"
#include "launch/text/jinja/value.h"

namespace tessera::launch::jinja {

class Interpreter;
struct Arguments;

using FilterBody = Value (*)(Interpreter& interpreter, const Value& input, Arguments& arguments);
using TestBody = bool (*)(Interpreter& interpreter, const Value& input, Arguments& arguments);

/// A variable: `hops` functions outwards, and its index among the variables of that function.
struct Slot {
  int hops = 0;
  int index = -1;
};

enum class Comparison {
  kEqual,
  kNotEqual,
  kLess,
  kLessEqual,
  kGreater,
  kGreaterEqual,
  kIn,
  kNotIn
};

struct Expression {
  enum class Kind : uint8_t {
    kConstant,
    kName,
    kNamespaceItem,  // namespace.attribute, to assign to
    kTuple,
    kList,
    kDict,  // parts: key, value, key, value, ...
    kNot,
    kNegative,
    kPositive,
    kArithmetic,
    kConcat,
    kCompare,
    kAnd,
    kOr,
    kCondition,  // parts: test, then, and else if there is one
    kAttribute,
    kItem,
    kSlice,  // parts: object, start, stop, step; None where absent
    kCall,   // parts: see names
    kFilter,
    kTest,
  };

  Kind kind = Kind::kConstant;
  Arithmetic arithmetic = Arithmetic::kAdd;
  bool has_star = false, has_double_star = false;
  int16_t depth = 1;  // of the tree
  int line = 0;
  std::string name;       // of a variable, attribute, filter or test
  std::string attribute;  // of kNamespaceItem
  Value constant;         // of kConstant; of kAttribute, its name
  std::vector<Expression> parts;
  std::vector<Comparison> comparisons;  // parts[i] and parts[i + 1] by comparisons[i]
  /// Of a call, filter or test, whose parts are: what is called or filtered, the arguments, of
  /// which the last have these names, then * and ** where there are any.
  std::vector<Value> names;
  Slot slot;
  FilterBody filter = nullptr;
  TestBody test = nullptr;
};

/// What happens to the variables of a scope when it begins.
struct Load {
  enum class Kind : uint8_t { kUndefined, kAlias, kVariable };

  Kind kind = Kind::kUndefined;
  int slot = -1;
  Slot from;          // kAlias: a copy of this one
  int variable = -1;  // kVariable: of the render's variables, an index into Program::variables
};

struct Scope {
  std::vector<Load> loads;
  std::vector<int> slots;  // all of its variables, parameters included
};

struct Statement;

/// The body of a macro, call block, generation block or recursive loop: what has variables of its
/// own, each time it runs.
struct Function {
  std::string name;
  std::vector<std::string> parameters;
  std::vector<Expression> parameter_targets;   // names, for their slots
  std::vector<Expression> defaults;            // of the last parameters
  int caller = -1, kwargs = -1, varargs = -1;  // slots, where the body uses these names
  bool explicit_caller = false;                // a parameter has this name
  Scope scope;
  std::vector<Statement> body;
  int slot_count = 0;
};

struct Statement {
  enum class Kind : uint8_t {
    kText,
    kPrint,
    kIf,
    kFor,
    kSet,
    kSetBlock,
    kMacro,
    kCallBlock,
    kFilterBlock,
    kWith,
    kGeneration,
    kBreak,
    kContinue,
  };

  Kind kind = Kind::kText;
  bool recursive = false;  // kFor
  bool uses_loop = false;  // kFor: its body reads `loop`
  bool filtered = false;   // kFor with an `if`, kSetBlock with a filter
  int line = 0;
  std::string text;        // kText
  Expression target;       // kSet, kSetBlock, kFor; kMacro: its name
  Expression value;        // printed, tested, assigned, looped over, called; the filter
  Expression test;         // kFor: its `if`
  Expression test_target;  // kFor: the target as the `if` sees it
  std::vector<Expression> targets, values;  // kWith
  std::vector<Statement> body;
  std::vector<Statement> elifs;  // kIf: kIf statements
  std::vector<Statement> otherwise;
  std::unique_ptr<Function> function;  // kMacro, kCallBlock, kGeneration; a recursive kFor
  Scope scope, test_scope, else_scope;
  int loop_slot = -1;  // kFor
};

struct Program {
  std::string name;
  Function root;
  std::vector<std::string> variables;  // that the template reads from outside
  bool has_generation = false;
};

}  // namespace tessera::launch::jinja
