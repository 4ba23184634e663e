#include <algorithm>

#include "launch/text/jinja/failure.h"
#include "launch/text/jinja/parser.h"
#include "runtime/io/printable.h"

namespace tessera::launch::jinja {
namespace {

using std::string_view;

/// Chains of operators, attributes and filters grow on one side, so they may be longer.
constexpr int kMaxDepth = 2 * kMaxNesting;

constexpr std::pair<string_view, Comparison> kComparisons[] = {
    {"==", Comparison::kEqual},  {"!=", Comparison::kNotEqual},
    {"<", Comparison::kLess},    {"<=", Comparison::kLessEqual},
    {">", Comparison::kGreater}, {">=", Comparison::kGreaterEqual}};

constexpr std::pair<string_view, Arithmetic> kArithmetic[] = {
    {"+", Arithmetic::kAdd},    {"-", Arithmetic::kSubtract},     {"*", Arithmetic::kMultiply},
    {"/", Arithmetic::kDivide}, {"//", Arithmetic::kFloorDivide}, {"%", Arithmetic::kModulo},
    {"**", Arithmetic::kPower}};

bool is_literal_name(string_view name) {
  return name == "true" || name == "True" || name == "false" || name == "False" || name == "none" ||
         name == "None";
}

std::string describe(const Token& token) {
  if (token.kind == Token::Kind::kEnd) return "the end of the template";
  if (token.kind == Token::Kind::kText) return "text";
  if (token.kind == Token::Kind::kBlockEnd) return "'%}'";
  if (token.kind == Token::Kind::kVariableEnd) return "'}}'";
  return fmt::format("'{}'", io::printable(token.text, 40));
}

bool is_assignable(const Expression& target) {
  if (target.kind == Expression::Kind::kTuple) {
    return std::all_of(target.parts.begin(), target.parts.end(), is_assignable);
  }
  return target.kind == Expression::Kind::kName || target.kind == Expression::Kind::kNamespaceItem;
}

}  // namespace

ExpressionParser::Level::Level(ExpressionParser& parser) : parser_(parser) {
  if (++parser_.level_ > kMaxNesting) {
    --parser_.level_;
    throw LimitFailure(fmt::format("the template nests more than {} levels", kMaxNesting));
  }
}

Expression ExpressionParser::make(Kind kind, int line) {
  Expression expression;
  expression.kind = kind;
  expression.line = line;
  return expression;
}

void ExpressionParser::adopt(Expression& whole, Expression part) {
  whole.depth = std::max(whole.depth, int16_t(part.depth + 1));
  if (whole.depth > kMaxDepth) {
    throw LimitFailure(fmt::format("an expression nests more than {} levels", kMaxDepth));
  }
  whole.parts.push_back(std::move(part));
}

const Token& ExpressionParser::take() {
  const Token& token = current();
  if (token.kind != Token::Kind::kEnd) ++at_;
  line_ = current().line;
  return token;
}

bool ExpressionParser::take_if_name(std::string_view name) {
  if (!current().is_name(name)) return false;
  take();
  return true;
}

bool ExpressionParser::take_if_operator(std::string_view symbol) {
  if (!current().is_operator(symbol)) return false;
  take();
  return true;
}

void ExpressionParser::fail_unexpected(std::string_view expected) const {
  raise_error("expected {}, got {}", expected, describe(current()));
}

void ExpressionParser::expect(Token::Kind kind, std::string_view what) {
  if (current().kind != kind) fail_unexpected(what);
  take();
}

void ExpressionParser::expect_name(std::string_view name) {
  if (!take_if_name(name)) fail_unexpected(fmt::format("'{}'", name));
}

void ExpressionParser::expect_operator(std::string_view symbol) {
  if (!take_if_operator(symbol)) fail_unexpected(fmt::format("'{}'", symbol));
}

std::string ExpressionParser::take_name(std::string_view what) {
  if (current().kind != Token::Kind::kName) fail_unexpected(what);
  return std::string(take().text);
}

bool ExpressionParser::at_tuple_end(std::string_view end_keyword) const {
  const Token& token = current();
  return token.kind == Token::Kind::kVariableEnd || token.kind == Token::Kind::kBlockEnd ||
         token.is_operator(")") || (!end_keyword.empty() && token.is_name(end_keyword));
}

Expression ExpressionParser::parse_expression(bool with_condition) {
  const Level level(*this);
  return with_condition ? parse_condition() : parse_or();
}

Expression ExpressionParser::parse_tuple(bool with_condition, std::string_view end_keyword) {
  Expression tuple = make(Kind::kTuple, current().line);
  bool is_tuple = false;
  while (true) {
    if (!tuple.parts.empty()) expect_operator(",");
    if (at_tuple_end(end_keyword)) break;
    adopt(tuple, parse_expression(with_condition));
    if (!current().is_operator(",")) break;
    is_tuple = true;
  }
  if (is_tuple) return tuple;
  if (tuple.parts.empty()) fail_unexpected("an expression");
  return std::move(tuple.parts[0]);
}

Expression ExpressionParser::parse_target_part(bool with_namespace) {
  const bool dotted = with_namespace && current().kind == Token::Kind::kName &&
                      ahead().is_operator(".") && !is_literal_name(current().text);
  if (!dotted) return parse_primary();
  Expression item = make(Kind::kNamespaceItem, current().line);
  item.name = take_name("a name");
  take();
  item.attribute = take_name("an attribute");
  return item;
}

Expression ExpressionParser::parse_target(bool with_namespace, std::string_view end_keyword) {
  const Level level(*this);
  Expression tuple = make(Kind::kTuple, current().line);
  bool is_tuple = false;
  while (true) {
    if (!tuple.parts.empty()) expect_operator(",");
    if (at_tuple_end(end_keyword)) break;
    adopt(tuple, parse_target_part(with_namespace));
    if (!current().is_operator(",")) break;
    is_tuple = true;
  }
  if (tuple.parts.empty()) fail_unexpected("a name");
  Expression target = is_tuple ? std::move(tuple) : Expression(std::move(tuple.parts[0]));
  if (!is_assignable(target)) raise_error("cannot assign to this expression");
  return target;
}

Expression ExpressionParser::parse_name_target() {
  Expression target = make(Kind::kName, current().line);
  target.name = take_name("a name");
  if (is_literal_name(target.name)) raise_error("cannot assign to '{}'", target.name);
  return target;
}

Expression ExpressionParser::parse_condition() {
  int line = current().line;
  Expression value = parse_or();
  while (take_if_name("if")) {
    Expression condition = make(Kind::kCondition, line);
    adopt(condition, parse_or());
    adopt(condition, std::move(value));
    if (take_if_name("else")) {
      const Level level(*this);
      adopt(condition, parse_condition());
    }
    value = std::move(condition);
    line = current().line;
  }
  return value;
}

Expression ExpressionParser::parse_or() {
  Expression first = parse_and();
  if (!current().is_name("or")) return first;
  Expression all = make(Kind::kOr, first.line);
  adopt(all, std::move(first));
  while (take_if_name("or")) adopt(all, parse_and());
  return all;
}

Expression ExpressionParser::parse_and() {
  Expression first = parse_not();
  if (!current().is_name("and")) return first;
  Expression all = make(Kind::kAnd, first.line);
  adopt(all, std::move(first));
  while (take_if_name("and")) adopt(all, parse_not());
  return all;
}

Expression ExpressionParser::parse_not() {
  if (!current().is_name("not")) return parse_compare();
  const Level level(*this);
  Expression negation = make(Kind::kNot, take().line);
  adopt(negation, parse_not());
  return negation;
}

std::optional<Comparison> ExpressionParser::take_comparison() {
  if (take_if_name("in")) return Comparison::kIn;
  if (current().is_name("not") && ahead().is_name("in")) {
    take();
    take();
    return Comparison::kNotIn;
  }
  for (const auto& [symbol, comparison] : kComparisons) {
    if (take_if_operator(symbol)) return comparison;
  }
  return std::nullopt;
}

Expression ExpressionParser::parse_compare() {
  Expression first = parse_sum();
  auto comparison = take_comparison();
  if (!comparison) return first;
  Expression all = make(Kind::kCompare, first.line);
  adopt(all, std::move(first));
  for (; comparison; comparison = take_comparison()) {
    all.comparisons.push_back(*comparison);
    adopt(all, parse_sum());
  }
  return all;
}

std::optional<Arithmetic> ExpressionParser::take_arithmetic(std::string_view symbols) {
  if (current().kind != Token::Kind::kOperator) return std::nullopt;
  for (const auto& [symbol, arithmetic] : kArithmetic) {
    const bool wanted =
        fmt::format(" {} ", symbols).find(fmt::format(" {} ", symbol)) != std::string::npos;
    if (wanted && take_if_operator(symbol)) return arithmetic;
  }
  return std::nullopt;
}

Expression ExpressionParser::parse_sum() {
  Expression left = parse_concat();
  while (const auto arithmetic = take_arithmetic("+ -")) {
    Expression sum = make(Kind::kArithmetic, left.line);
    sum.arithmetic = *arithmetic;
    adopt(sum, std::move(left));
    adopt(sum, parse_concat());
    left = std::move(sum);
  }
  return left;
}

Expression ExpressionParser::parse_concat() {
  Expression first = parse_product();
  if (!current().is_operator("~")) return first;
  Expression all = make(Kind::kConcat, first.line);
  adopt(all, std::move(first));
  while (take_if_operator("~")) adopt(all, parse_product());
  return all;
}

Expression ExpressionParser::parse_product() {
  Expression left = parse_power();
  while (const auto arithmetic = take_arithmetic("* / // %")) {
    Expression product = make(Kind::kArithmetic, left.line);
    product.arithmetic = *arithmetic;
    adopt(product, std::move(left));
    adopt(product, parse_power());
    left = std::move(product);
  }
  return left;
}

Expression ExpressionParser::parse_power() {
  Expression left = parse_unary(true);
  while (take_if_operator("**")) {
    Expression power = make(Kind::kArithmetic, left.line);
    power.arithmetic = Arithmetic::kPower;
    adopt(power, std::move(left));
    adopt(power, parse_unary(true));
    left = std::move(power);
  }
  return left;
}

Expression ExpressionParser::parse_unary(bool with_filter) {
  Expression value;
  if (current().is_operator("-") || current().is_operator("+")) {
    const Level level(*this);
    value = make(current().is_operator("-") ? Kind::kNegative : Kind::kPositive, current().line);
    take();
    adopt(value, parse_unary(false));
  } else {
    value = parse_primary();
  }
  value = parse_postfix(std::move(value));
  return with_filter ? parse_filter_expression(std::move(value)) : value;
}

Expression ExpressionParser::parse_primary() {
  const Token& token = current();
  Expression value = make(Kind::kConstant, token.line);
  if (token.kind == Token::Kind::kName) {
    const string_view name = take().text;
    if (!is_literal_name(name)) {
      value.kind = Kind::kName;
      value.name = name;
    } else if (name != "none" && name != "None") {
      value.constant = name == "true" || name == "True";
    }
    return value;
  }
  if (token.is_string()) {
    std::string text = take().constant.bytes();
    while (current().is_string()) text += take().constant.bytes();
    value.constant = Text(std::move(text));
    return value;
  }
  if (token.kind == Token::Kind::kConstant) {
    value.constant = take().constant;
    return value;
  }
  if (token.is_operator("(")) return parse_parenthesis();
  if (token.is_operator("[")) return parse_list();
  if (token.is_operator("{")) return parse_dict();
  fail_unexpected("an expression");
}

Expression ExpressionParser::parse_parenthesis() {
  const int line = take().line;
  if (take_if_operator(")")) return make(Kind::kTuple, line);
  Expression inside = parse_tuple();
  expect_operator(")");
  return inside;
}

Expression ExpressionParser::parse_list() {
  Expression list = make(Kind::kList, take().line);
  while (!current().is_operator("]")) {
    if (!list.parts.empty()) expect_operator(",");
    if (current().is_operator("]")) break;
    adopt(list, parse_expression());
  }
  take();
  return list;
}

Expression ExpressionParser::parse_dict() {
  Expression dict = make(Kind::kDict, take().line);
  while (!current().is_operator("}")) {
    if (!dict.parts.empty()) expect_operator(",");
    if (current().is_operator("}")) break;
    adopt(dict, parse_expression());
    expect_operator(":");
    adopt(dict, parse_expression());
  }
  take();
  return dict;
}

Expression ExpressionParser::parse_postfix(Expression object) {
  while (true) {
    if (current().is_operator(".") || current().is_operator("[")) {
      object = parse_subscript(std::move(object));
    } else if (current().is_operator("(")) {
      object = parse_call(std::move(object));
    } else {
      return object;
    }
  }
}

Expression ExpressionParser::parse_filter_expression(Expression input) {
  while (true) {
    if (current().is_operator("|")) {
      input = parse_filters(std::move(input), false);
    } else if (current().is_name("is")) {
      input = parse_test(std::move(input));
    } else if (current().is_operator("(")) {
      input = parse_call(std::move(input));
    } else {
      return input;
    }
  }
}

Expression ExpressionParser::parse_subscript(Expression object) {
  if (current().is_operator("[")) return parse_brackets(std::move(object));
  const int line = take().line;
  if (current().kind == Token::Kind::kName) {
    Expression attribute = make(Kind::kAttribute, line);
    attribute.name = take().text;
    attribute.constant = Text(attribute.name);
    adopt(attribute, std::move(object));
    return attribute;
  }
  if (current().kind != Token::Kind::kConstant ||
      !current().constant.is(::tessera::launch::jinja::Kind::kInt)) {
    fail_unexpected("a name or a number");
  }
  Expression item = make(Kind::kItem, line);
  Expression index = make(Kind::kConstant, line);
  index.constant = take().constant;
  adopt(item, std::move(object));
  adopt(item, std::move(index));
  return item;
}

Expression ExpressionParser::parse_brackets(Expression object) {
  const int line = take().line;
  std::vector<Expression> indices;
  bool trailing_comma = false;
  while (!current().is_operator("]")) {
    if (!indices.empty()) expect_operator(",");
    if (current().is_operator(":")) {
      if (!indices.empty()) fail_unexpected("an index");
      return parse_slice(std::move(object), make(Kind::kConstant, line));
    }
    indices.push_back(parse_expression());
    if (current().is_operator(":")) {
      if (indices.size() > 1) fail_unexpected("']'");
      return parse_slice(std::move(object), std::move(indices[0]));
    }
    trailing_comma = current().is_operator(",") && ahead().is_operator("]");
  }
  if (trailing_comma) fail_unexpected("an index");
  take();
  Expression item = make(Kind::kItem, line);
  adopt(item, std::move(object));
  if (indices.size() == 1) {
    adopt(item, std::move(indices[0]));
    return item;
  }
  Expression tuple = make(Kind::kTuple, line);
  for (Expression& index : indices) adopt(tuple, std::move(index));
  adopt(item, std::move(tuple));
  return item;
}

Expression ExpressionParser::parse_slice(Expression object, Expression start) {
  Expression slice = make(Kind::kSlice, current().line);
  adopt(slice, std::move(object));
  adopt(slice, std::move(start));
  for (int part = 0; part < 2; ++part) {  // the stop and the step
    const bool given = take_if_operator(":") && !current().is_operator(":") &&
                       !current().is_operator("]") && !current().is_operator(",");
    adopt(slice, given ? parse_expression() : make(Kind::kConstant, slice.line));
  }
  expect_operator("]");
  return slice;
}

Expression ExpressionParser::parse_call(Expression function) {
  Expression call = make(Kind::kCall, current().line);
  adopt(call, std::move(function));
  parse_arguments(call);
  return call;
}

void ExpressionParser::parse_arguments(Expression& call) {
  expect_operator("(");
  std::optional<Expression> star, double_star;
  const auto require = [](bool allowed) {
    if (!allowed) raise_error("invalid order of arguments in a call");
  };
  while (!current().is_operator(")")) {
    if (take_if_operator("*")) {
      require(!star && !double_star);
      star = parse_expression();
    } else if (take_if_operator("**")) {
      require(!double_star);
      double_star = parse_expression();
    } else if (current().kind == Token::Kind::kName && ahead().is_operator("=")) {
      require(!double_star);
      Value name = Text(take_name("a name"));
      for (const Value& other : call.names) {
        if (equals(name, other)) raise_error("keyword argument repeated: {}", name.bytes());
      }
      call.names.push_back(std::move(name));
      take();
      adopt(call, parse_expression());
    } else {
      require(!star && !double_star && call.names.empty());
      adopt(call, parse_expression());
    }
    if (!current().is_operator(")")) expect_operator(",");
  }
  take();
  call.has_star = star.has_value();
  if (star) adopt(call, std::move(*star));
  call.has_double_star = double_star.has_value();
  if (double_star) adopt(call, std::move(*double_star));
}

Expression ExpressionParser::parse_filters(Expression input, bool inline_first) {
  while (inline_first || take_if_operator("|")) {
    inline_first = false;
    Expression filter = make(Kind::kFilter, current().line);
    filter.name = take_name("the name of a filter");
    while (take_if_operator(".")) filter.name += "." + take_name("the name of a filter");
    adopt(filter, std::move(input));
    if (current().is_operator("(")) parse_arguments(filter);
    input = std::move(filter);
  }
  return input;
}

Expression ExpressionParser::parse_test(Expression input) {
  Expression test = make(Kind::kTest, take().line);
  const bool negated = take_if_name("not");
  test.name = take_name("the name of a test");
  while (take_if_operator(".")) test.name += "." + take_name("the name of a test");
  adopt(test, std::move(input));
  const Token& next = current();
  const bool takes_operand = (next.kind == Token::Kind::kName && !next.is_name("else") &&
                              !next.is_name("or") && !next.is_name("and")) ||
                             next.kind == Token::Kind::kConstant || next.is_operator("[") ||
                             next.is_operator("{");
  if (next.is_operator("(")) {
    parse_arguments(test);
  } else if (takes_operand) {
    if (next.is_name("is")) raise_error("tests with 'is' cannot be chained");
    const Level level(*this);
    adopt(test, parse_postfix(parse_primary()));
  }
  if (!negated) return test;
  Expression negation = make(Kind::kNot, test.line);
  adopt(negation, std::move(test));
  return negation;
}

}  // namespace tessera::launch::jinja
