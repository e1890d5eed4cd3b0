// Reading of images, and the search for one statement.

#include "trail.h"
#include "trail_image.h"

#include <algorithm>
#include <cstring>

#include "fence.h"

namespace unblock::core {

namespace image = trail_image;

namespace {

// The fixed part of a record; false if it is not all there.
template <class Record>
bool take(std::span<const std::uint64_t> words, Record& record) noexcept {
	if (words.size_bytes() < sizeof(Record))
		return false;
	std::memcpy(&record, words.data(), sizeof(Record));
	return true;
}

// What follows the fixed part.
template <class Record>
std::string_view text_of(std::span<const std::uint64_t> words, std::size_t begin,
                         std::size_t bytes) noexcept {
	const std::string_view all(reinterpret_cast<const char*>(words.data()), words.size_bytes());
	return all.substr(std::min(sizeof(Record) + begin, all.size()), bytes);
}

bool take_statement(Trail& trail, std::span<const std::uint64_t> words) {
	image::Statement record;
	if (!take(words, record))
		return false;
	trail.statements.push_back({.number = record.number,
	                            .running = record.running != 0,
	                            .at = record.at,
	                            .query_id = record.query_id,
	                            .text = text_of<image::Statement>(words, 0, record.text)});
	return true;
}

bool take_relation(Trail& trail, std::span<const std::uint64_t> words) {
	image::Relation record;
	if (!take(words, record) || trail.statements.empty())
		return false;
	trail.relations.push_back({.statement = static_cast<Index>(trail.statements.size() - 1),
	                           .oid = record.oid,
	                           .modes = record.head.what,
	                           .rows = static_cast<RowUses>(record.rows),
	                           .schema = text_of<image::Relation>(words, 0, record.schema),
	                           .name = text_of<image::Relation>(words, record.schema, record.name)});
	return true;
}

bool take_rows_again(Trail& trail, std::span<const std::uint64_t> words) {
	image::Fact record;
	if (!take(words, record))
		return false;
	trail.rows_again.push_back({record.oid, static_cast<RowUses>(record.head.what), record.at});
	return true;
}

bool take_unknown(Trail& trail, std::span<const std::uint64_t> words) {
	image::Fact record;
	if (!take(words, record))
		return false;
	trail.unknown.push_back({record.oid, record.head.what});
	return true;
}

bool take_record(Trail& trail, image::Kind kind, std::span<const std::uint64_t> words) {
	switch (kind) {
	case image::kStatement:
		return take_statement(trail, words);
	case image::kRelation:
		return take_relation(trail, words);
	case image::kRowsAgain:
		return take_rows_again(trail, words);
	case image::kUnknown:
		return take_unknown(trail, words);
	}
	return false;
}

bool is_unknown(const Trail& trail, std::uint32_t oid, ModeMask modes) noexcept {
	return std::ranges::any_of(trail.unknown, [=](const Trail::Unknown& lock) {
		return lock.oid == oid && (lock.modes & modes) != 0;
	});
}

} // namespace

Trail::Trail(std::span<const std::uint64_t> words) {
	image::Header header;
	complete = take(words, header);
	if (!complete)
		return;
	transaction = header.transaction;
	complete = header.incomplete == 0;
	rows_lost_since = header.rows_lost_since;
	std::span<const std::uint64_t> rest = words.subspan(image::kHeaderWords);
	for (image::Head head; take(rest, head); rest = rest.subspan(head.words))
		if (head.words == 0 || head.words > rest.size() ||
		    !take_record(*this, static_cast<image::Kind>(head.kind), rest.first(head.words))) {
			complete = false;
			break;
		}
}

const Trail::Statement* lock_statement(const Trail& trail, std::uint32_t oid, ModeMask modes) noexcept {
	const Trail::Relation* best = nullptr;
	for (const Trail::Relation& relation : trail.relations) {
		const auto in_the_way = static_cast<ModeMask>(relation.modes & modes);
		if (relation.oid == oid && in_the_way != 0 &&
		    (best == nullptr ||
		     strongest(in_the_way) > strongest(static_cast<ModeMask>(best->modes & modes))))
			best = &relation;
	}
	if (best != nullptr)
		return &trail.statements[best->statement];
	if (!trail.complete || trail.statements.empty() || is_unknown(trail, oid, modes))
		return nullptr;
	const Trail::Statement& last = trail.statements.back();
	return last.running ? &last : nullptr;
}

const Trail::Statement* row_statement(const Trail& trail, std::uint32_t oid, Time wait_start,
                                      RowUses rows) noexcept {
	const auto before_the_wait = [wait_start](Time at) { return wait_start == 0 || at <= wait_start; };
	if (trail.rows_lost_since != 0 && before_the_wait(trail.rows_lost_since))
		return nullptr;
	if (std::ranges::any_of(trail.rows_again, [&](const Trail::RowsAgain& again) {
		    return again.oid == oid && (again.rows & rows) != 0 && before_the_wait(again.at);
	    }))
		return nullptr;
	// Each way has a first statement.
	const Trail::Statement* found = nullptr;
	for (const Trail::Relation& relation : trail.relations) {
		if (relation.oid != oid || (relation.rows & rows) == 0)
			continue;
		const Trail::Statement& statement = trail.statements[relation.statement];
		if (!before_the_wait(statement.at))
			continue;
		if (found != nullptr && found != &statement)
			return nullptr;
		found = &statement;
	}
	return found;
}

const Trail::Relation* named_relation(const Trail& trail, std::uint32_t oid) noexcept {
	const auto found = std::ranges::find_if(trail.relations, [oid](const Trail::Relation& relation) {
		return relation.oid == oid && !relation.name.empty();
	});
	return found == trail.relations.end() ? nullptr : &*found;
}

} // namespace unblock::core
