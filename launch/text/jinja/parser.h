// The grammar of Jinja2's parser, as far as chat templates can use it: no inheritance, includes or
// imports, for a chat template is one file.
#pragma once

#include <string_view>
#include <vector>

#include "launch/text/jinja/lexer.h"
#include "launch/text/jinja/syntax.h"

namespace tessera::launch::jinja {

/// Parses expressions; the base of the parser of statements.
class ExpressionParser {
 public:
  /// `line` follows the parser: where a Failure is thrown, it is the place.
  ExpressionParser(const std::vector<Token>& tokens, int& line) : tokens_(tokens), line_(line) {}

 protected:
  using Kind = Expression::Kind;

  Expression parse_expression(bool with_condition = true);
  Expression parse_tuple(bool with_condition = true, std::string_view end_keyword = {});
  /// A name, a tuple of names, or, `with_namespace`, namespace.attribute among them.
  Expression parse_target(bool with_namespace, std::string_view end_keyword = {});
  Expression parse_name_target();
  /// The filters that follow, the first one at once where `inline_first`.
  Expression parse_filters(Expression input, bool inline_first);
  static Expression make(Kind kind, int line);
  /// Makes `part` the next part of `whole`. LimitFailure when the tree gets too deep.
  static void adopt(Expression& whole, Expression part);

  const Token& current() const { return tokens_[at_]; }
  const Token& ahead() const { return tokens_[at_ + (current().kind != Token::Kind::kEnd)]; }
  const Token& take();
  bool take_if_name(std::string_view name);
  bool take_if_operator(std::string_view symbol);
  void expect(Token::Kind kind, std::string_view what);
  void expect_name(std::string_view name);
  void expect_operator(std::string_view symbol);
  std::string take_name(std::string_view what);
  [[noreturn]] void fail_unexpected(std::string_view expected) const;

  /// Counts the levels of nesting while it lives. LimitFailure when there are too many.
  class Level {
   public:
    explicit Level(ExpressionParser& parser);
    ~Level() { --parser_.level_; }
    Level(const Level&) = delete;
    Level& operator=(const Level&) = delete;

   private:
    ExpressionParser& parser_;
  };

 private:
  Expression parse_condition();
  Expression parse_or();
  Expression parse_and();
  Expression parse_not();
  Expression parse_compare();
  std::optional<Comparison> take_comparison();
  Expression parse_sum();
  Expression parse_concat();
  Expression parse_product();
  Expression parse_power();
  Expression parse_unary(bool with_filter);
  Expression parse_primary();
  Expression parse_parenthesis();
  Expression parse_list();
  Expression parse_dict();
  Expression parse_postfix(Expression object);
  Expression parse_filter_expression(Expression input);
  Expression parse_subscript(Expression object);
  Expression parse_brackets(Expression object);
  /// The rest of object[start:stop:step], from the first ":" on.
  Expression parse_slice(Expression object, Expression start);
  Expression parse_call(Expression function);
  void parse_arguments(Expression& call);
  Expression parse_test(Expression input);
  Expression parse_target_part(bool with_namespace);
  bool at_tuple_end(std::string_view end_keyword) const;
  std::optional<Arithmetic> take_arithmetic(std::string_view symbols);

  const std::vector<Token>& tokens_;
  int& line_;
  size_t at_ = 0;
  int level_ = 0;
};

/// Parses a whole template. Failure with `line` as its place.
Program parse_program(const std::vector<Token>& tokens, int& line);

}  // namespace tessera::launch::jinja
