#include "launch/text/jinja/parser.h"

#include <algorithm>

#include "launch/text/jinja/failure.h"
#include "launch/text/jinja/scopes.h"
#include "runtime/io/printable.h"

namespace tessera::launch::jinja {
namespace {

using std::string_view;
using StatementKind = Statement::Kind;

class Parser : public ExpressionParser {
 public:
  using ExpressionParser::ExpressionParser;

  Program run() {
    Program program;
    program.root.body = parse_body({});
    program.has_generation = has_generation_;
    return program;
  }

 private:
  /// What a body may end with: names of tags.
  using Ends = std::initializer_list<string_view>;

  /// Text and tags up to one of `ends`, which is current then, or up to the end of the template
  /// without ends.
  std::vector<Statement> parse_body(Ends ends) {
    const Level level(*this);
    std::vector<Statement> body;
    while (current().kind != Token::Kind::kEnd) {
      if (current().kind == Token::Kind::kText) {
        Statement text = make_statement(StatementKind::kText);
        text.text = take().text;
        body.push_back(std::move(text));
      } else if (current().kind == Token::Kind::kVariableBegin) {
        take();
        Statement print = make_statement(StatementKind::kPrint);
        print.value = parse_tuple();
        expect(Token::Kind::kVariableEnd, "'}}'");
        body.push_back(std::move(print));
      } else {
        expect(Token::Kind::kBlockBegin, "a tag");
        for (const string_view end : ends) {
          if (current().is_name(end)) return body;
        }
        parse_statement(body);
        expect(Token::Kind::kBlockEnd, "'%}'");
      }
    }
    if (ends.size() > 0) fail_unexpected(fmt::format("'{{% {} %}}'", *(ends.end() - 1)));
    return body;
  }

  /// The body of a tag, whose head ends here.
  std::vector<Statement> parse_block(Ends ends) {
    take_if_operator(":");
    expect(Token::Kind::kBlockEnd, "'%}'");
    return parse_body(ends);
  }

  /// A body with one possible end, which is taken.
  std::vector<Statement> parse_whole_block(string_view end) {
    std::vector<Statement> body = parse_block({end});
    take();
    return body;
  }

  Statement make_statement(StatementKind kind) const {
    Statement statement;
    statement.kind = kind;
    statement.line = current().line;
    return statement;
  }

  void parse_statement(std::vector<Statement>& body) {
    using Method = Statement (Parser::*)();
    static constexpr std::pair<string_view, Method> kTags[] = {
        {"for", &Parser::parse_for},         {"if", &Parser::parse_if},
        {"set", &Parser::parse_set},         {"macro", &Parser::parse_macro},
        {"call", &Parser::parse_call_block}, {"filter", &Parser::parse_filter_block},
        {"with", &Parser::parse_with},       {"generation", &Parser::parse_generation},
        {"break", &Parser::parse_break},     {"continue", &Parser::parse_continue}};
    if (current().kind != Token::Kind::kName) fail_unexpected("the name of a tag");
    if (current().is_name("print")) return parse_print(body);
    for (const auto& [name, method] : kTags) {
      if (!current().is_name(name)) continue;
      body.push_back((this->*method)());
      return;
    }
    for (const string_view known :
         {"block", "extends", "include", "import", "from", "autoescape"}) {
      if (current().is_name(known)) raise_error("the tag '{}' is not supported", known);
    }
    raise_error("unknown tag '{}'", io::printable(current().text, 40));
  }

  Statement parse_for() {
    Statement loop = make_statement(StatementKind::kFor);
    take();
    loop.target = parse_target(false, "in");
    expect_name("in");
    loop.value = parse_tuple(false, "recursive");
    loop.filtered = take_if_name("if");
    if (loop.filtered) loop.test = parse_expression();
    loop.recursive = take_if_name("recursive");
    const bool breakable = std::exchange(breakable_, true);
    loop.body = parse_block({"else", "endfor"});
    // A recursive loop is a function, out of which no break leads.
    breakable_ = !loop.recursive && breakable;
    if (take().text == "else") loop.otherwise = parse_whole_block("endfor");
    breakable_ = breakable;
    return loop;
  }

  Statement parse_if() {
    Statement first = make_statement(StatementKind::kIf);
    take();
    Statement* branch = &first;
    while (true) {
      branch->value = parse_tuple(false);
      branch->body = parse_block({"elif", "else", "endif"});
      const string_view end = take().text;
      if (end == "else") first.otherwise = parse_whole_block("endif");
      if (end != "elif") return first;
      first.elifs.push_back(make_statement(StatementKind::kIf));
      branch = &first.elifs.back();
    }
  }

  Statement parse_set() {
    Statement set = make_statement(StatementKind::kSet);
    take();
    set.target = parse_target(true);
    if (take_if_operator("=")) {
      set.value = parse_tuple();
      return set;
    }
    set.kind = StatementKind::kSetBlock;
    set.filtered = current().is_operator("|");
    if (set.filtered) set.value = parse_filters({}, false);
    set.body = parse_whole_block("endset");
    return set;
  }

  void parse_signature(Function& function) {
    expect_operator("(");
    while (!current().is_operator(")")) {
      if (!function.parameters.empty()) expect_operator(",");
      Expression parameter = parse_name_target();
      for (const std::string& other : function.parameters) {
        if (other == parameter.name) raise_error("duplicate argument '{}'", other);
      }
      function.parameters.push_back(parameter.name);
      function.parameter_targets.push_back(std::move(parameter));
      if (take_if_operator("=")) {
        function.defaults.push_back(parse_expression());
      } else if (!function.defaults.empty()) {
        raise_error("non-default argument follows default argument");
      }
    }
    take();
  }

  void parse_function_body(Function& function, string_view end) {
    const bool breakable = std::exchange(breakable_, false);
    function.body = parse_whole_block(end);
    breakable_ = breakable;
  }

  Statement parse_macro() {
    Statement macro = make_statement(StatementKind::kMacro);
    take();
    macro.function = std::make_unique<Function>();
    macro.target = parse_name_target();
    macro.function->name = macro.target.name;
    parse_signature(*macro.function);
    parse_function_body(*macro.function, "endmacro");
    return macro;
  }

  Statement parse_call_block() {
    Statement call = make_statement(StatementKind::kCallBlock);
    take();
    call.function = std::make_unique<Function>();
    if (current().is_operator("(")) parse_signature(*call.function);
    call.value = parse_expression();
    if (call.value.kind != Expression::Kind::kCall) raise_error("expected a call");
    for (const Value& name : call.value.names) {
      if (name.bytes() == "caller") raise_error("keyword argument repeated: caller");
    }
    parse_function_body(*call.function, "endcall");
    return call;
  }

  Statement parse_generation() {
    Statement generation = make_statement(StatementKind::kGeneration);
    take();
    has_generation_ = true;
    generation.function = std::make_unique<Function>();
    parse_function_body(*generation.function, "endgeneration");
    return generation;
  }

  Statement parse_filter_block() {
    Statement filter = make_statement(StatementKind::kFilterBlock);
    take();
    filter.value = parse_filters({}, true);
    filter.body = parse_whole_block("endfilter");
    return filter;
  }

  Statement parse_with() {
    Statement with = make_statement(StatementKind::kWith);
    take();
    while (current().kind != Token::Kind::kBlockEnd) {
      if (!with.targets.empty()) expect_operator(",");
      with.targets.push_back(parse_target(false));
      expect_operator("=");
      with.values.push_back(parse_expression());
    }
    with.body = parse_whole_block("endwith");
    return with;
  }

  void parse_print(std::vector<Statement>& body) {
    take();
    for (bool first = true; current().kind != Token::Kind::kBlockEnd; first = false) {
      if (!first) expect_operator(",");
      Statement print = make_statement(StatementKind::kPrint);
      print.value = parse_expression();
      body.push_back(std::move(print));
    }
  }

  Statement parse_break() { return parse_jump(StatementKind::kBreak); }
  Statement parse_continue() { return parse_jump(StatementKind::kContinue); }

  Statement parse_jump(StatementKind kind) {
    Statement jump = make_statement(kind);
    if (!breakable_) raise_error("'{}' outside of a loop", current().text);
    take();
    return jump;
  }

  bool breakable_ = false;  // whether a break here has a loop to end
  bool has_generation_ = false;
};

}  // namespace

Program parse_program(const std::vector<Token>& tokens, int& line) {
  Program program = Parser(tokens, line).run();
  resolve_names(program, line);
  return program;
}

}  // namespace tessera::launch::jinja
