// How the report on a run's data looks: histogram, text, JSON and page, also where data are
// hostile.
#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "launch/report/data_html.h"
#include "launch/report/data_json.h"
#include "launch/report/data_text.h"
#include "launch/report/sample_text.h"
#include "launch/report/visible_text.h"
#include "tests/well_formed.h"

namespace tessera::launch {
namespace {

using nlohmann::json;

TEST(LengthHistogram, IsOfRoundBins) {
  std::vector<uint32_t> lengths;
  for (uint32_t n = 100; n >= 1; --n) lengths.push_back(n);
  const LengthHistogram of(lengths);
  EXPECT_EQ(of.samples, 100);
  EXPECT_EQ(of.tokens, 5050);
  EXPECT_EQ(of.least, 1);
  EXPECT_EQ(of.longest, 100);
  EXPECT_EQ(of.median, 50);
  EXPECT_EQ(of.p95, 95);
  EXPECT_EQ(of.mean, 50.5);
  EXPECT_EQ(of.width, 10);
  ASSERT_EQ(of.bins.size(), 11u);
  EXPECT_EQ(of.bins.front().samples, 9);  // 1 to 9
  EXPECT_EQ(of.bins[1].begin, 10);
  EXPECT_EQ(of.bins[1].end, 20);
  EXPECT_EQ(of.bins[1].samples, 10);
  EXPECT_EQ(of.bins.back().samples, 1);
  EXPECT_EQ(LengthHistogram({900, 4096}).width, 500);
  EXPECT_EQ(LengthHistogram({900, 4096}).bins.size(), 8u);
  EXPECT_EQ(LengthHistogram({900, 4096}).median, 900);
  EXPECT_EQ(LengthHistogram({7, 7}).bins.size(), 1u);
  EXPECT_EQ(LengthHistogram(std::vector<uint32_t>()).bins.size(), 0u);
}

TEST(VisibleText, HasNoControlOverTheReader) {
  EXPECT_EQ(visible("a\tb\r\n", Lines::kKeep), "a\tb␍↵\n");
  EXPECT_EQ(visible("a\tb\r\n", Lines::kOne), "a␉b␍↵");
  EXPECT_EQ(visible(std::string_view("\x1b[2J\0\x7f", 6), Lines::kKeep), "␛[2J␀␡");
  EXPECT_EQ(visible("\u202Eab\u200B\u0085\u2028", Lines::kKeep),
            "⟨U+202E⟩ab⟨U+200B⟩⟨U+0085⟩⟨U+2028⟩");
  EXPECT_EQ(visible("é 👩‍🚀 \xff", Lines::kOne), "é 👩‍🚀 ⟨FF⟩");
  EXPECT_EQ(columns_of("aé日本"), 6u);
}

/// What anyone who wants to harm the reader of a page would put into data.
DataSummary hostile() {
  const std::string evil = "</pre><script>x</script><img src=\"'&\u202E\x1b[2J\xff";
  DataSummary data;
  data.sets.push_back({.path = evil, .type = "alpaca", .cached_in = evil, .notes = {evil}});
  data.sets[0].dropped_long = 1;
  data.lengths = LengthHistogram({3, 4, 40});
  data.steps = {.sequence_len = 64};
  data.lost = {{evil, evil}};
  data.samples.push_back({.number = 1, .path = evil});
  data.samples[0].tokens = {{.id = 1, .special = true, .text = "<b>"},
                            {.id = 2, .label = 2, .text = evil},
                            {.id = 3, .label = 9, .text = "\n", .label_text = evil}};
  return data;
}

TEST(DataHtml, IsSafeAndWhole) {
  const std::string page = data_html(hostile());
  EXPECT_TRUE(testing::is_well_formed(page)) << page;
  EXPECT_FALSE(testing::is_well_formed("<p>a<b></p>"));
  for (const char* bad :
       {"<script", "<img", "<link", "src=\"", "http:", "https:", "\u202E", "\x1b", "\xff"}) {
    EXPECT_EQ(page.find(bad), page.npos) << bad;
  }
  EXPECT_NE(page.find("title=\"token 1: id 2, learned, label 2\">&lt;/pre&gt;&lt;script&gt;x"),
            page.npos);
  EXPECT_NE(page.find("prefers-color-scheme: dark"), page.npos);
}

TEST(DataText, HostileTextIsShownBySigns) {
  for (const bool colour : {false, true}) {
    for (const bool tokens : {false, true}) {
      const std::string text = data_text(hostile(), {.colour = colour, .tokens = tokens});
      EXPECT_EQ(text.find("\x1b[2J"), text.npos);
      EXPECT_EQ(text.find("\u202E"), text.npos);
      EXPECT_EQ(text.find('\xff'), text.npos);
      EXPECT_EQ(text.find('\x1b') != text.npos, colour);
      EXPECT_EQ(text.find("⟦") == text.npos, colour || tokens);
    }
  }
  EXPECT_EQ(json::parse(data_json(hostile()))["samples"][0]["special"], json({0}));
  SampleSummary sample;
  sample.tokens = {{.id = 1, .text = "a\nb"}, {.id = 2, .label = 2, .text = "c"}};
  EXPECT_EQ(sample_text(sample, true), "  \x1b[2ma↵\x1b[0m\n  \x1b[2mb\x1b[0m\x1b[1;32mc\x1b[0m\n");
}

}  // namespace
}  // namespace tessera::launch
