// The image: what is appended, what makes room, and what is cut off.

#include "statement_trail.h"
#include "trail_image.h"

#include <algorithm>
#include <cstring>
#include <iterator>

#include "fence.h"

namespace unblock::core {

namespace image = trail_image;

namespace {

using Words = std::span<std::uint64_t>;

// Texts get half of what is free, and so much at least.
constexpr std::size_t kShortText = 128;
// The room that a statement needs beside its text: itself, and one relation with a name of usual length.
constexpr std::size_t kStatementWords =
    image::words(sizeof(image::Statement)) + image::words(sizeof(image::Relation) + 48);
// Facts get this part of the image, so that they leave room for statements.
constexpr std::size_t kShareOfFacts = 4;
// Before any statement.
constexpr Time kEver = 1;
// Of whatever is there something may go.
constexpr int kAnyStrength = kLockModes;
constexpr std::size_t kLongestName = UINT8_MAX;

template <class Record>
Record record_at(Words words, std::size_t at) noexcept {
	Record record;
	std::memcpy(&record, words.data() + at, sizeof(Record));
	return record;
}

template <class Record>
void replace(Words words, std::size_t at, const Record& record) noexcept {
	std::memcpy(words.data() + at, &record, sizeof(Record));
}

image::Head head_at(Words words, std::size_t at) noexcept {
	return record_at<image::Head>(words, at);
}

bool is_fact(const image::Head& head) noexcept {
	return head.kind == image::kRowsAgain || head.kind == image::kUnknown;
}

// Calls visit(place, head) for each record from a place on until it returns false.
template <class Visit>
void each_record(Words words, std::size_t from, Visit visit) {
	for (std::size_t at = from; at < words.size();) {
		const image::Head head = head_at(words, at);
		if (!visit(at, head))
			return;
		at += head.words;
	}
}

// The same for the relations of a statement.
template <class Visit>
void each_relation(Words words, std::size_t statement, Visit visit) {
	each_record(words, statement + head_at(words, statement).words, [&](std::size_t at, image::Head head) {
		if (head.kind == image::kRelation)
			visit(at, record_at<image::Relation>(words, at));
		return head.kind != image::kStatement;
	});
}

// How much a record matters where room is short: its strongest mode. Rows count as the weakest lock on them,
// the transaction's first write as the lock that writers take.
int strength_of(const image::Relation& relation) noexcept {
	if (relation.oid == kTransactionId)
		return static_cast<int>(LockMode::row_exclusive);
	const LockMode mode = strongest(relation.head.what);
	return static_cast<int>(relation.rows != 0 ? std::max(mode, LockMode::row_share) : mode);
}

// Whether others tell of this relation both earlier and of a stronger lock.
bool is_superseded(Words words, std::size_t place, const image::Relation& relation) {
	if (relation.rows != 0)
		return false;
	bool earlier = false;
	bool stronger = false;
	each_record(words, image::kHeaderWords, [&](std::size_t at, image::Head head) {
		if (head.kind != image::kRelation || at == place)
			return true;
		const auto other = record_at<image::Relation>(words, at);
		if (other.oid == relation.oid) {
			earlier = earlier || at < place;
			stronger = stronger || strength_of(other) > strength_of(relation);
		}
		return !(earlier && stronger);
	});
	return earlier && stronger;
}

// What is lost with a statement: 0 if others tell of all that it tells of. From `enough` on it is not told
// how much.
int strength_of_statement(Words words, std::size_t statement, int enough) {
	int strength = 0;
	each_relation(words, statement, [&](std::size_t at, const image::Relation& relation) {
		const int own = strength_of(relation);
		if (strength < enough && own > strength && !is_superseded(words, at, relation))
			strength = own;
	});
	return strength;
}

} // namespace

StatementTrail::StatementTrail(std::size_t bytes, std::size_t statements)
    : most_statements_(std::max<std::size_t>(statements, 1)),
      memory_(std::max(bytes, kLeastBytes) / image::kWord) {
	present_.record = kNowhere;
}

void StatementTrail::belong_to(std::uint32_t transaction) noexcept {
	if (transaction == transaction_)
		return;
	clear();
	transaction_ = transaction;
}

void StatementTrail::begin(std::uint32_t transaction, const Statement& statement) noexcept {
	belong_to(transaction);
	const bool goes_on = present_.number != 0 && present_.statement.at == statement.at &&
	                     present_.statement.place == statement.place;
	// The clock was set back: what comes first is not known any more.
	if (statement.at < latest_)
		lose_rows(kEver);
	latest_ = std::max(latest_, statement.at);
	present_.statement = statement;
	if (!goes_on) {
		++present_.number;
		present_.record = kNowhere;
	}
}

void StatementTrail::run(unsigned level) {
	enter(level);
	if (present_.record == kNowhere) {
		if (!record_statement(true))
			set_incomplete();
		return;
	}
	auto record = record_at<image::Statement>(image_, present_.record);
	record.running = 1;
	replace(image_, present_.record, record);
	touch(present_.record);
}

void StatementTrail::end() noexcept {
	present_.statement.text = {};
	if (present_.record == kNowhere)
		return;
	auto record = record_at<image::Statement>(image_, present_.record);
	if (record.running == 0)
		return;
	record.running = 0;
	replace(image_, present_.record, record);
	touch(present_.record);
	bool has_relations = false;
	each_relation(image_, present_.record,
	              [&](std::size_t, const image::Relation&) { has_relations = true; });
	if (!has_relations) {
		const std::size_t begin = present_.record;
		erase(begin, begin + record.head.words);
		--statements_;
		--recorded_;
	}
}

// Those ways that nobody has used yet.
RowUses StatementTrail::rows_without_first(const Known& known, RowUses rows) const noexcept {
	RowUses unused = 0;
	for (unsigned way = 0; way < kWays; ++way)
		if (known.rows_by[way] == 0)
			unused = static_cast<RowUses>(unused | (1U << way));
	return unused & rows;
}

// Those that one statement before the present one has used.
RowUses StatementTrail::rows_of_others(const Known& known, RowUses rows) const noexcept {
	RowUses others = 0;
	for (unsigned way = 0; way < kWays; ++way)
		if (known.rows_by[way] != 0 && known.rows_by[way] != present_.number)
			others = static_cast<RowUses>(others | (1U << way));
	return static_cast<RowUses>(others & rows & ~known.rows_again);
}

bool StatementTrail::has_name(std::uint32_t oid) const noexcept {
	return known_.has_name(oid);
}

void StatementTrail::set_name(std::uint32_t oid, std::string_view schema, std::string_view name) {
	if (schema.size() > kLongestName || name.size() > kLongestName)
		schema = name = {};
	KnownRelations<Known>::set_names(known_.get(oid), schema, name);
}

bool StatementTrail::knows(const Relation& relation) const noexcept {
	const auto* found = known_.find(relation.oid);
	if (found == nullptr)
		return relation.modes == 0 && relation.rows == 0;
	const Known& known = found->fact;
	return (relation.modes & ~(known.modes | known.unexplained)) == 0 &&
	       (relation.rows == 0 ||
	        (rows_without_first(known, relation.rows) | rows_of_others(known, relation.rows)) == 0);
}

void StatementTrail::add(unsigned level, const Relation& relation) {
	if (knows(relation))
		return;
	enter(level);
	auto& place = known_.get(relation.oid);
	Known& known = place.fact;
	if (!marks_.empty())
		undo_.push_back({relation.oid, known});
	const Relation added = {.oid = relation.oid,
	                        .modes =
	                            static_cast<ModeMask>(relation.modes & ~(known.modes | known.unexplained)),
	                        .rows = rows_without_first(known, relation.rows)};
	const RowUses again = rows_of_others(known, relation.rows);
	known.modes = static_cast<ModeMask>(known.modes | added.modes);
	known.rows_again |= again;
	for (unsigned way = 0; way < kWays; ++way)
		if ((added.rows & (1U << way)) != 0)
			known.rows_by[way] = present_.number;
	if ((added.modes != 0 || added.rows != 0) && !record_relation(added, place)) {
		set_incomplete();
		if (added.rows != 0)
			lose_rows(present_.statement.at);
	}
	if (again != 0 && !record_fact(image::kRowsAgain, relation.oid, again))
		lose_rows(present_.statement.at);
}

void StatementTrail::hold(std::uint32_t oid, ModeMask modes) {
	Known& known = known_.get(oid).fact;
	const auto added = static_cast<ModeMask>(modes & ~(known.modes | known.unexplained));
	if (added == 0)
		return;
	known.unexplained = static_cast<ModeMask>(known.unexplained | added);
	// A fact goes when the level is rolled back; the lock may stay.
	if (!record_fact(image::kUnknown, oid, added) || !marks_.empty())
		set_incomplete();
}

void StatementTrail::open_image() noexcept {
	if (image_.empty())
		append(image::Header{transaction_, 0, 0}, {}, {});
}

void StatementTrail::lose_rows(Time since) noexcept {
	open_image();
	auto header = record_at<image::Header>(image_, 0);
	if (header.rows_lost_since != 0 && header.rows_lost_since <= since)
		return;
	header.rows_lost_since = since;
	replace(image_, 0, header);
	touch(0);
}

void StatementTrail::set_incomplete() noexcept {
	open_image();
	auto header = record_at<image::Header>(image_, 0);
	header.incomplete = 1;
	replace(image_, 0, header);
	touch(0);
}

void StatementTrail::release(unsigned level) noexcept {
	if (marks_.empty() || marks_.back().level != level)
		return;
	const unsigned below = level - 1;
	const bool is_marked = marks_.size() > 1 && marks_[marks_.size() - 2].level == below;
	if (below > 1 && !is_marked)
		marks_.back().level = below;
	else
		marks_.pop_back();
	if (marks_.empty())
		undo_.clear();
}

void StatementTrail::roll_back(unsigned level) noexcept {
	if (marks_.empty() || marks_.back().level < level)
		return;
	while (!marks_.empty() && marks_.back().level >= level) {
		const Mark mark = marks_.back();
		marks_.pop_back();
		for (; undo_.size() > mark.undo; undo_.pop_back())
			undo(undo_.back());
		resize(mark.image);
		touch(mark.image);
	}
	if (present_.record != kNowhere && present_.record >= image_.size())
		present_.record = kNowhere;
	statements_ = facts_ = 0;
	each_record(image_, image::kHeaderWords, [this](std::size_t, image::Head head) {
		statements_ += head.kind == image::kStatement;
		facts_ += is_fact(head);
		return true;
	});
}

void StatementTrail::clear() noexcept {
	if (!image_.empty())
		touch(0);
	resize(0);
	known_.begin_transaction();
	undo_.clear();
	marks_.clear();
	transaction_ = 0;
	latest_ = 0;
	present_ = {{}, 0, kNowhere};
	statements_ = facts_ = 0;
	recorded_ = 0;
}

StatementTrail::Change StatementTrail::take_change() noexcept {
	const Change change = {image_, std::min(changed_, image_.size())};
	changed_ = kNowhere;
	return change;
}

void StatementTrail::touch(std::size_t word) noexcept {
	changed_ = std::min(changed_, word);
}

// The first change of a savepoint's level.
void StatementTrail::enter(unsigned level) {
	if (level <= 1 || (!marks_.empty() && marks_.back().level >= level))
		return;
	open_image(); // what its header says of the whole transaction is not undone
	marks_.push_back({level, image_.size(), undo_.size()});
}

void StatementTrail::undo(const Undo& change) noexcept {
	Known& known = known_.find(change.oid)->fact; // it was changed in this transaction
	const ModeMask unexplained = known.unexplained;
	known = change.before;
	known.unexplained = unexplained;
}

bool StatementTrail::record_statement(bool running) {
	open_image();
	while (statements_ >= most_statements_)
		if (!drop_statement(kAnyStrength))
			return false;
	const std::string_view text =
	    present_.statement.text.substr(0, std::max(kShortText, free_words() * image::kWord / 2));
	if (!make_room(kStatementWords + image::words(text.size()), kAnyStrength))
		return false;
	present_.record = image_.size();
	append(image::Statement{.head = {.kind = image::kStatement, .what = 0, .words = 0},
	                        .at = present_.statement.at,
	                        .query_id = present_.statement.query_id,
	                        .number = ++recorded_,
	                        .text = static_cast<std::uint32_t>(text.size()),
	                        .running = running ? 1U : 0U},
	       text, {});
	++statements_;
	return true;
}

bool StatementTrail::record_relation(const Relation& relation, const KnownRelations<Known>::Relation& known) {
	if (present_.record == kNowhere && !record_statement(false))
		return false;
	const std::string_view schema = known.is_named ? known.schema_name() : std::string_view();
	const std::string_view name = known.is_named ? known.name() : std::string_view();
	const image::Relation record = {
	    .head = {.kind = image::kRelation, .what = relation.modes, .words = 0},
	    .oid = relation.oid,
	    .rows = relation.rows,
	    .schema = static_cast<std::uint8_t>(schema.size()),
	    .name = static_cast<std::uint8_t>(name.size()),
	};
	if (!make_room(image::words(sizeof(record) + schema.size() + name.size()), strength_of(record)))
		return false;
	append(record, schema, name);
	return true;
}

bool StatementTrail::has_room_for_fact() const noexcept {
	return (facts_ + 1) * image::words(sizeof(image::Fact)) <= memory_.size() / kShareOfFacts;
}

bool StatementTrail::record_fact(std::uint16_t kind, std::uint32_t oid, std::uint16_t what) {
	open_image();
	if (free_words() < image::words(sizeof(image::Fact)) || !has_room_for_fact())
		return false;
	++facts_;
	append(image::Fact{.head = {.kind = kind, .what = what, .words = 0},
	                   .oid = oid,
	                   .unused = 0,
	                   .at = present_.statement.at},
	       {}, {});
	return true;
}

// There is room for it.
template <class Record>
void StatementTrail::append(Record record, std::string_view first, std::string_view second) {
	const std::size_t place = image_.size();
	const std::size_t words = image::words(sizeof(record) + first.size() + second.size());
	if constexpr (requires { record.head; })
		record.head.words = static_cast<std::uint32_t>(words);
	touch(place);
	resize(place + words);
	image_.back() = 0; // what the texts leave of it
	char* to = reinterpret_cast<char*>(image_.data() + place);
	std::memcpy(to, &record, sizeof(record));
	to = std::copy(first.begin(), first.end(), to + sizeof(record));
	std::copy(second.begin(), second.end(), to);
}

// For a lock of this strength.
bool StatementTrail::make_room(std::size_t words, int strength) {
	while (free_words() < words)
		if (!drop_statement(strength) && !drop_relation(strength))
			return false;
	return true;
}

// Drops the statement that is missed least, if it is weaker: the oldest of which others tell all, else the
// weakest, and among equals the latest. Never the present one.
bool StatementTrail::drop_statement(int strength) {
	std::size_t weakest = kNowhere;
	int least = strength;
	each_record(image_, image::kHeaderWords, [&](std::size_t at, image::Head head) {
		if (head.kind != image::kStatement || at == present_.record)
			return true;
		const int own = strength_of_statement(image_, at, least + 1);
		if (own < least || (own == least && least < strength)) {
			weakest = at;
			least = own;
		}
		return least > 0;
	});
	if (weakest == kNowhere)
		return false;
	set_incomplete();
	const Time began = record_at<image::Statement>(image_, weakest).at;
	erase(weakest, weakest + head_at(image_, weakest).words);
	--statements_;
	for (std::size_t at = weakest; at < image_.size();) {
		const image::Head head = head_at(image_, at);
		if (head.kind == image::kStatement)
			break;
		if (head.kind == image::kRelation)
			forget(at, began);
		else
			at += head.words;
	}
	return true;
}

// Drops the present statement's weakest lock, and among equals the latest, if it is weaker.
bool StatementTrail::drop_relation(int strength) {
	if (present_.record == kNowhere)
		return false;
	std::size_t weakest = kNowhere;
	int least = strength;
	each_relation(image_, present_.record, [&](std::size_t at, const image::Relation& relation) {
		const int own = strength_of(relation);
		if (own < least || (own == least && least < strength)) {
			weakest = at;
			least = own;
		}
	});
	if (weakest == kNowhere)
		return false;
	set_incomplete();
	forget(weakest, present_.statement.at);
	return true;
}

// A relation's record goes. That its rows may have been locked is still told, in its place, so that a
// savepoint's end undoes both or neither.
void StatementTrail::forget(std::size_t place, Time at) noexcept {
	const auto relation = record_at<image::Relation>(image_, place);
	const std::size_t end = place + relation.head.words;
	constexpr std::size_t words = image::words(sizeof(image::Fact));
	if (relation.rows == 0) {
		erase(place, end);
	} else if (relation.head.words < words || !has_room_for_fact()) {
		erase(place, end);
		lose_rows(at);
	} else {
		replace(image_, place,
		        image::Fact{.head = {.kind = image::kRowsAgain, .what = relation.rows, .words = words},
		                    .oid = relation.oid,
		                    .unused = 0,
		                    .at = at});
		++facts_;
		touch(place);
		if (relation.head.words > words)
			erase(place + words, end);
	}
}

// One record, or the end of one.
void StatementTrail::erase(std::size_t begin, std::size_t end) noexcept {
	const auto shifted = [begin, end](std::size_t place) {
		return place >= end ? place - (end - begin) : std::min(place, begin);
	};
	std::copy(image_.begin() + static_cast<std::ptrdiff_t>(end), image_.end(),
	          image_.begin() + static_cast<std::ptrdiff_t>(begin));
	resize(image_.size() - (end - begin));
	touch(begin);
	for (Mark& mark : marks_)
		mark.image = shifted(mark.image);
	if (present_.record == begin)
		present_.record = kNowhere;
	else if (present_.record != kNowhere)
		present_.record = shifted(present_.record);
}

} // namespace unblock::core
