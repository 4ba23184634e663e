#include "launch/text/jinja/scopes.h"

#include <algorithm>
#include <map>
#include <set>

#include "launch/text/jinja/failure.h"
#include "launch/text/jinja/filters.h"
#include "launch/text/jinja/tests.h"
#include "runtime/io/printable.h"

namespace tessera::launch::jinja {
namespace {

using ExpressionKind = Expression::Kind;
using StatementKind = Statement::Kind;

/// Branches copy the names known so far; a template of ours never comes near this.
constexpr size_t kMaxCopiedNames = 20'000'000;

/// Variables of one function, by scope level and name: scopes of one level that follow one another
/// share them.
struct FunctionNames {
  const FunctionNames* outer = nullptr;
  std::map<std::string, int> slots = {};

  int slot(const std::string& key) { return slots.emplace(key, int(slots.size())).first->second; }
};

/// A variable's place: whose it is and its index there.
struct Place {
  const FunctionNames* function = nullptr;
  int index = -1;
};

/// What becomes of a variable when its scope begins; kParameter: it is set by other means.
struct Beginning {
  enum class Kind { kParameter, kVariable, kAlias, kUndefined };
  Kind kind = Kind::kParameter;
  std::string variable = {};
  Place alias = {};
};

/// The names of one scope, while it is analysed.
class Symbols {
 public:
  Symbols(const Symbols* parent, FunctionNames& function, const char* kind = "")
      : parent_(parent),
        function_(&function),
        prefix_(fmt::format("{}{} ", kind, parent ? parent->level_ + 1 : 0)),
        level_(parent ? parent->level_ + 1 : 0) {}

  FunctionNames& function() const { return *function_; }
  size_t size() const { return places_.size(); }
  const std::map<int, Beginning>& beginnings() const { return beginnings_; }

  const Place* find(const std::string& name) const {
    for (const Symbols* symbols = this; symbols; symbols = symbols->parent_) {
      const auto it = symbols->places_.find(name);
      if (it != symbols->places_.end()) return &it->second;
    }
    return nullptr;
  }

  void load(const std::string& name) {
    if (!find(name)) define(name, {Beginning::Kind::kVariable, name});
  }

  void store(const std::string& name) {
    stores_.insert(name);
    if (places_.contains(name)) return;
    if (const Place* outer = parent_ ? parent_->find(name) : nullptr) {
      define(name, {Beginning::Kind::kAlias, {}, *outer});
    } else {
      define(name, {Beginning::Kind::kUndefined});
    }
  }

  int declare_parameter(const std::string& name) {
    stores_.insert(name);
    return define(name, {Beginning::Kind::kParameter});
  }

  /// Takes over what the branches of an `if` name. What only some of them set keeps the value
  /// from outside otherwise.
  void merge(const std::vector<Symbols>& branches) {
    std::set<std::string> stored;
    for (const Symbols& branch : branches) {
      for (const std::string& name : branch.stores_) {
        if (!stores_.contains(name)) stored.insert(name);
      }
    }
    for (const Symbols& branch : branches) {
      for (const auto& [name, place] : branch.places_) places_[name] = place;
      for (const auto& [slot, beginning] : branch.beginnings_) beginnings_[slot] = beginning;
      stores_.insert(branch.stores_.begin(), branch.stores_.end());
    }
    for (const std::string& name : stored) {
      const Place* outer = parent_ ? parent_->find(name) : nullptr;
      beginnings_[find(name)->index] = outer ? Beginning{Beginning::Kind::kAlias, {}, *outer}
                                             : Beginning{Beginning::Kind::kVariable, name};
    }
  }

 private:
  int define(const std::string& name, Beginning beginning) {
    const int slot = function_->slot(prefix_ + name);
    places_[name] = {function_, slot};
    beginnings_[slot] = std::move(beginning);
    return slot;
  }

  const Symbols* parent_;
  FunctionNames* function_;
  std::string prefix_;
  int level_;
  std::map<std::string, Place> places_;
  std::map<int, Beginning> beginnings_;
  std::set<std::string> stores_;
};

/// Finds the names that a scope loads and stores, without the scopes inside it.
class Analysis {
 public:
  Analysis(Symbols& symbols, size_t& copied) : symbols_(&symbols), copied_(copied) {}

  void visit(const Expression& expression) {
    if (expression.kind == ExpressionKind::kName ||
        expression.kind == ExpressionKind::kNamespaceItem) {
      symbols_->load(expression.name);
    }
    for (const Expression& part : expression.parts) visit(part);
  }

  void visit_target(const Expression& target, bool parameter) {
    if (target.kind == ExpressionKind::kTuple) {
      for (const Expression& part : target.parts) visit_target(part, parameter);
    } else if (target.kind == ExpressionKind::kNamespaceItem) {
      symbols_->load(target.name);
    } else if (parameter) {
      symbols_->declare_parameter(target.name);
    } else {
      symbols_->store(target.name);
    }
  }

  void visit_all(const std::vector<Statement>& body) {
    for (const Statement& statement : body) visit(statement);
  }

  void visit_function(const Function& function) {
    for (const Expression& parameter : function.parameter_targets) visit_target(parameter, true);
    for (const Expression& value : function.defaults) visit(value);
    visit_all(function.body);
  }

 private:
  void visit(const Statement& statement) {
    switch (statement.kind) {
      case StatementKind::kPrint:
      case StatementKind::kFor:
      case StatementKind::kCallBlock:
      case StatementKind::kFilterBlock:
        return visit(statement.value);
      case StatementKind::kIf:
        return visit_if(statement);
      case StatementKind::kSet:
        visit(statement.value);
        return visit_target(statement.target, false);
      case StatementKind::kSetBlock:
        return visit_target(statement.target, false);
      case StatementKind::kMacro:
        return symbols_->store(statement.target.name);
      case StatementKind::kWith:
        for (const Expression& value : statement.values) visit(value);
        return;
      case StatementKind::kText:
      case StatementKind::kGeneration:
      case StatementKind::kBreak:
      case StatementKind::kContinue:
      default:
        return;
    }
  }

  void visit_if(const Statement& statement) {
    visit(statement.value);
    Symbols* const around = symbols_;
    std::vector<Symbols> branches;
    for (const auto* body : {&statement.body, &statement.elifs, &statement.otherwise}) {
      copied_ += around->size();
      if (copied_ > kMaxCopiedNames) throw LimitFailure("the template has too many names");
      Symbols branch = *around;
      symbols_ = &branch;
      visit_all(*body);
      branches.push_back(std::move(branch));
    }
    symbols_ = around;
    symbols_->merge(branches);
  }

  Symbols* symbols_;
  size_t& copied_;
};

/// Which of `caller`, `kwargs`, `varargs` a body reads that nothing in it sets first, in Jinja2's
/// order of looking.
class SpecialNames {
 public:
  explicit SpecialNames(const std::vector<Statement>& body) { look(body); }
  bool reads(const std::string& name) const { return read_.contains(name); }

 private:
  void look(const Expression& expression) {
    if (expression.kind == ExpressionKind::kName && open_.contains(expression.name)) {
      read_.insert(expression.name);
    }
    for (const Expression& part : expression.parts) look(part);
  }

  void look_target(const Expression& target) {
    if (target.kind == ExpressionKind::kName) open_.erase(target.name);
    for (const Expression& part : target.parts) look_target(part);
  }

  void look_function(const Function& function) {
    for (const Expression& parameter : function.parameter_targets) look_target(parameter);
    for (const Expression& value : function.defaults) look(value);
    look(function.body);
  }

  void look(const std::vector<Statement>& body) {
    for (const Statement& statement : body) look(statement);
  }

  void look(const Statement& statement) {
    if (read_ == open_) return;
    if (statement.kind == StatementKind::kFor || statement.kind == StatementKind::kSet) {
      look_target(statement.target);
    }
    look(statement.value);
    if (statement.kind == StatementKind::kSetBlock) look_target(statement.target);
    for (const Expression& target : statement.targets) look_target(target);
    for (const Expression& value : statement.values) look(value);
    if (statement.function && statement.kind != StatementKind::kFor) {
      look_function(*statement.function);
    }
    look(statement.body);
    look(statement.elifs);
    look(statement.otherwise);
    look(statement.test);
  }

  std::set<std::string> open_ = {"caller", "kwargs", "varargs"};
  std::set<std::string> read_;
};

bool loads_loop(const Expression& expression) {
  if (expression.kind == ExpressionKind::kName && expression.name == "loop") return true;
  for (const Expression& part : expression.parts) {
    if (loads_loop(part)) return true;
  }
  return false;
}

bool loads_loop(const std::vector<Statement>& body) {
  for (const Statement& statement : body) {
    if (loads_loop(statement.value) || loads_loop(statement.test)) return true;
    for (const Expression& value : statement.values) {
      if (loads_loop(value)) return true;
    }
    if (statement.function) {
      for (const Expression& value : statement.function->defaults) {
        if (loads_loop(value)) return true;
      }
      if (loads_loop(statement.function->body)) return true;
    }
    if (loads_loop(statement.body) || loads_loop(statement.elifs) ||
        loads_loop(statement.otherwise)) {
      return true;
    }
  }
  return false;
}

class Resolver {
 public:
  Resolver(Program& program, int& line) : program_(program), line_(line) {}

  void run() {
    FunctionNames names;
    Symbols symbols(nullptr, names);
    Analysis(symbols, copied_).visit_all(program_.root.body);
    program_.root.scope = scope_of(symbols);
    resolve(program_.root.body, symbols, false);
    program_.root.slot_count = int(names.slots.size());
  }

 private:
  static Slot slot_from(const FunctionNames& function, const Place& place) {
    Slot slot{0, place.index};
    for (const auto* at = &function; at != place.function; at = at->outer) ++slot.hops;
    return slot;
  }

  int variable(const std::string& name) {
    if (name == "self") raise_error("the variable 'self' is not supported");
    const auto [it, added] = variables_.emplace(name, int(program_.variables.size()));
    if (added) program_.variables.push_back(name);
    return it->second;
  }

  Scope scope_of(const Symbols& symbols) {
    Scope scope;
    for (const auto& [slot, beginning] : symbols.beginnings()) {
      scope.slots.push_back(slot);
      switch (beginning.kind) {
        case Beginning::Kind::kParameter:
          break;
        case Beginning::Kind::kVariable:
          scope.loads.push_back({Load::Kind::kVariable, slot, {}, variable(beginning.variable)});
          break;
        case Beginning::Kind::kAlias:
          scope.loads.push_back(
              {Load::Kind::kAlias, slot, slot_from(symbols.function(), beginning.alias), -1});
          break;
        case Beginning::Kind::kUndefined:
          scope.loads.push_back({Load::Kind::kUndefined, slot, {}, -1});
      }
    }
    return scope;
  }

  /// `soft`: an unknown filter or test is an error only when it is reached.
  void resolve(Expression& expression, const Symbols& symbols, bool soft) {
    line_ = expression.line;
    if (expression.kind == ExpressionKind::kName ||
        expression.kind == ExpressionKind::kNamespaceItem) {
      const Place* place = symbols.find(expression.name);
      if (!place) {
        raise_error("the name '{}' cannot be used here", io::printable(expression.name, 40));
      }
      expression.slot = slot_from(symbols.function(), *place);
    } else if (expression.kind == ExpressionKind::kFilter) {
      expression.filter = find_filter(expression.name);
      if (!expression.filter && !soft) fail_no_filter(expression.name);
    } else if (expression.kind == ExpressionKind::kTest) {
      expression.test = find_test(expression.name);
      if (!expression.test && !soft) fail_no_test(expression.name);
    }
    const bool inner_soft = soft || expression.kind == ExpressionKind::kCondition;
    for (Expression& part : expression.parts) resolve(part, symbols, inner_soft);
  }

  void resolve_target(Expression& target, const Symbols& symbols) {
    if (target.kind == ExpressionKind::kName && target.name == "loop" && loops_ > 0) {
      line_ = target.line;
      raise_error("cannot assign to the special variable 'loop'");
    }
    if (target.kind == ExpressionKind::kTuple) {
      for (Expression& part : target.parts) resolve_target(part, symbols);
    } else {
      resolve(target, symbols, false);
    }
  }

  void resolve(std::vector<Statement>& body, const Symbols& symbols, bool soft) {
    for (Statement& statement : body) resolve(statement, symbols, soft);
  }

  void resolve(Statement& statement, const Symbols& symbols, bool soft) {
    line_ = statement.line;
    switch (statement.kind) {
      case StatementKind::kPrint:
        return resolve(statement.value, symbols, soft);
      case StatementKind::kIf:
        return resolve_if(statement, symbols);
      case StatementKind::kFor:
        return resolve_for(statement, symbols, soft);
      case StatementKind::kSet:
        resolve(statement.value, symbols, soft);
        return resolve_target(statement.target, symbols);
      case StatementKind::kMacro:
        resolve_function(*statement.function, symbols);
        return resolve(statement.target, symbols, soft);
      case StatementKind::kCallBlock:
        resolve_function(*statement.function, symbols);
        return resolve(statement.value, symbols, soft);
      case StatementKind::kGeneration:
        return resolve_function(*statement.function, symbols);
      case StatementKind::kSetBlock:
      case StatementKind::kFilterBlock:
      case StatementKind::kWith:
        return resolve_block(statement, symbols, soft);
      case StatementKind::kText:
      case StatementKind::kBreak:
      case StatementKind::kContinue:
      default:
        return;
    }
  }

  void resolve_if(Statement& statement, const Symbols& symbols) {
    resolve(statement.value, symbols, true);
    resolve(statement.body, symbols, true);
    resolve(statement.elifs, symbols, true);
    resolve(statement.otherwise, symbols, true);
  }

  /// The blocks that are a scope of their own.
  void resolve_block(Statement& statement, const Symbols& symbols, bool soft) {
    Symbols inner(&symbols, symbols.function());
    Analysis analysis(inner, copied_);
    for (const Expression& target : statement.targets) analysis.visit_target(target, true);
    analysis.visit_all(statement.body);
    if (statement.kind == StatementKind::kFilterBlock) analysis.visit(statement.value);
    statement.scope = scope_of(inner);
    for (Expression& target : statement.targets) resolve(target, inner, false);
    for (Expression& value : statement.values) resolve(value, symbols, soft);
    resolve(statement.body, inner, false);
    if (statement.kind == StatementKind::kSetBlock) resolve_target(statement.target, symbols);
    resolve(statement.value, inner, false);
  }

  void resolve_for(Statement& loop, const Symbols& symbols, bool soft) {
    FunctionNames own{&symbols.function()};
    FunctionNames& function = loop.recursive ? own : symbols.function();
    ++loops_;
    Symbols body(&symbols, function);
    loop.uses_loop = loop.recursive || loads_loop(loop.body);
    if (loop.uses_loop) loop.loop_slot = body.declare_parameter("loop");
    Analysis body_analysis(body, copied_);
    body_analysis.visit_target(loop.target, true);
    body_analysis.visit_all(loop.body);
    Symbols otherwise(&symbols, function);
    Analysis(otherwise, copied_).visit_all(loop.otherwise);
    if (loop.filtered) resolve_loop_test(loop, symbols, function);
    loop.scope = scope_of(body);
    loop.else_scope = scope_of(otherwise);
    resolve_target(loop.target, body);
    resolve(loop.value, symbols, soft);
    resolve(loop.body, body, false);
    resolve(loop.otherwise, otherwise, false);
    --loops_;
    if (loop.recursive) {
      loop.function = std::make_unique<Function>();
      loop.function->slot_count = int(own.slots.size());
    }
  }

  /// The `if` of a loop runs apart from its body, with variables of its own.
  void resolve_loop_test(Statement& loop, const Symbols& symbols, FunctionNames& function) {
    Symbols test(&symbols, function, "test ");
    Analysis analysis(test, copied_);
    analysis.visit_target(loop.target, true);
    analysis.visit(loop.test);
    loop.test_scope = scope_of(test);
    loop.test_target = loop.target;
    resolve_target(loop.test_target, test);
    resolve(loop.test, test, false);
  }

  void resolve_function(Function& function, const Symbols& symbols) {
    FunctionNames names{&symbols.function()};
    Symbols inner(&symbols, names);
    Analysis analysis(inner, copied_);
    analysis.visit_function(function);
    const SpecialNames special(function.body);
    const auto parameter =
        std::find(function.parameters.begin(), function.parameters.end(), std::string("caller"));
    function.explicit_caller = parameter != function.parameters.end();
    if (special.reads("caller") && function.explicit_caller) {
      const auto after = size_t(function.parameters.end() - parameter);
      if (after > function.defaults.size()) raise_error("the argument 'caller' needs a default");
    }
    const auto declare = [&](const char* name) {
      const bool given = std::find(function.parameters.begin(), function.parameters.end(),
                                   std::string(name)) != function.parameters.end();
      return special.reads(name) && !given ? inner.declare_parameter(name) : -1;
    };
    function.caller = declare("caller");
    function.kwargs = declare("kwargs");
    function.varargs = declare("varargs");
    analysis.visit_function(function);
    function.scope = scope_of(inner);
    for (Expression& target : function.parameter_targets) resolve(target, inner, false);
    for (Expression& value : function.defaults) resolve(value, inner, false);
    resolve(function.body, inner, false);
    function.slot_count = int(names.slots.size());
  }

  Program& program_;
  int& line_;
  size_t copied_ = 0;
  int loops_ = 0;  // around the statement in hand
  std::map<std::string, int> variables_;
};

}  // namespace

void resolve_names(Program& program, int& line) { Resolver(program, line).run(); }

}  // namespace tessera::launch::jinja
