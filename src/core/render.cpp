// Draws chains: first what is drawn in which place, then the lines.
#include "render.h"

#include <algorithm>
#include <map>
#include <tuple>
#include <utility>

#include "fence.h"

namespace unblock::core {

namespace {

struct Charset {
	std::string_view root, top; // in front of a chain's first session: a root blocker, or not
	std::string_view branch, last_branch;
	std::string_view rail, no_rail;
	std::string_view stem, no_stem; // below a session: leads to its waiters
	std::string_view ellipsis;
};

constexpr Charset kBoxes = {"● ", "○ ", "├─ ", "└─ ", "│  ", "   ", "│ ", "  ", "…"};
constexpr Charset kPlain = {"* ", "o ", "|- ", "`- ", "|  ", "   ", "| ", "  ", "..."};

constexpr std::size_t kNarrowest = 40; // columns of a line
constexpr std::size_t kIndent = 3;     // columns per level
constexpr std::size_t kTextRoom = 50;  // columns of a line that indents leave, where it is wide enough
constexpr Index kLevelsAtLeast = 2;

// Of siblings alike this many are drawn if there are more of them than kAlikeAll.
constexpr Index kAlikeDrawn = 2;
constexpr Index kAlikeAll = 4;

std::size_t line_width(const RenderOptions& options) {
	return std::max(static_cast<std::size_t>(std::max(options.width, 0)), kNarrowest);
}

Index deepest_level(std::size_t width) {
	const std::size_t levels = width > kTextRoom ? (width - kTextRoom) / kIndent : 0;
	return std::max(static_cast<Index>(levels), kLevelsAtLeast);
}

// What is drawn in one place: a session, or a line that counts siblings.
struct Item {
	Index row = kNone; // kNone: counts siblings
	Index level = 0;
	bool last = false;  // no sibling follows
	bool opens = false; // its waiters follow
	Index more = 0;     // the siblings counted,
	LockMode mode = LockMode::none;
	Micros longest = -1; // and the longest wait of them; -1: none may be told
};

class Tree {
public:
	Tree(const WaitGraph& graph, std::span<const ChainRow> rows, const RenderOptions& options)
	    : graph_(graph), snapshot_(graph.snapshot()), rows_(rows), chars_(options.unicode ? kBoxes : kPlain),
	      width_(line_width(options)), statements_(options.statements), bytes_(options.bytes),
	      deepest_(deepest_level(width_)) {
		gather();
	}

	std::vector<Index> rows_drawn() const {
		std::vector<Index> rows;
		for (const Item& item : items_)
			if (item.row != kNone)
				rows.push_back(item.row);
		return rows;
	}

	std::vector<std::string> draw() {
		connect();
		std::size_t drawn = 0, bytes = 0; // lines
		for (const Item& item : items_) {
			if (bytes > bytes_)
				break;
			draw(item);
			for (; drawn < lines_.size(); ++drawn)
				bytes += lines_[drawn].size();
		}
		return std::move(lines_);
	}

private:
	// Siblings with the same of these look alike: they have the same primary blocker, too.
	using Alike = std::tuple<Index, Index, LockMode>; // row of the parent, lock, mode wanted

	struct Group {
		Index members = 0;
		Index met = 0;
		std::size_t counted_by = 0; // item
	};

	const Session& session(Index node) const { return snapshot_.sessions[node]; }
	const NodeFacts& facts(Index row) const { return graph_.node(rows_[row].node); }
	const Waiter& wait(Index row) const { return snapshot_.waiters[facts(row).waiter]; }

	// Whether a row may be one of many: it stands below somebody, and nobody below it.
	bool countable(Index row) const {
		const bool leaf = row + 1 == rows_.size() || rows_[row + 1].depth <= rows_[row].depth;
		return leaf && rows_[row].parent != kNone && facts(row).waits && !facts(row).in_cycle;
	}
	Alike alike(Index row) const { return {rows_[row].parent, wait(row).lock, wait(row).mode}; }

	void gather();
	void count_in(Item& item, Index row) const;
	void connect();

	void draw(const Item& item);
	void draw_session(const Item& item, const std::string& head, const std::string& below);
	void add_line(const std::string& indent, const std::string& text);
	std::string first_line(const Item& item, std::size_t room) const;
	std::string doing(Index row) const;
	std::string lock_line(Index row, std::size_t room) const;
	std::string more_waits(Index row) const;
	std::string more_siblings(const Item& item) const;

	// Foreign text on one line.
	std::string fit(std::string_view text, std::size_t room) const {
		return one_line(text, room, chars_.ellipsis);
	}
	// Text that is one line already: no character takes more columns than bytes.
	std::string cut(std::string text, std::size_t room) const {
		return text.size() <= room ? std::move(text) : fit(text, room);
	}

	const WaitGraph& graph_;
	const Snapshot& snapshot_;
	std::span<const ChainRow> rows_;
	const Charset& chars_;
	std::size_t width_;
	bool statements_;
	std::size_t bytes_;
	Index deepest_; // level

	std::vector<Item> items_;
	std::vector<std::string_view> rails_; // left of the current item, one per level above its own
	std::vector<std::string> lines_;
};

void Tree::gather() {
	std::map<Alike, Group> groups;
	std::vector<Group*> group_of(rows_.size(), nullptr);
	std::pair<const Alike, Group>* last = nullptr; // those alike mostly follow one another
	for (Index row = 0; row < rows_.size(); ++row)
		if (countable(row)) {
			if (last == nullptr || last->first != alike(row))
				last = &*groups.try_emplace(alike(row)).first;
			group_of[row] = &last->second;
			++last->second.members;
		}

	for (Index row = 0; row < rows_.size(); ++row) {
		Item item;
		item.row = row;
		item.level = std::min(rows_[row].depth, deepest_);
		Group* group = group_of[row];
		if (group == nullptr || group->members <= kAlikeAll) {
			items_.push_back(item);
			continue;
		}
		if (++group->met <= kAlikeDrawn)
			items_.push_back(item);
		else
			count_in(items_[group->counted_by], row);
		if (group->met == kAlikeDrawn) {
			group->counted_by = items_.size();
			item.row = kNone;
			items_.push_back(item);
		}
	}
}

void Tree::count_in(Item& item, Index row) const {
	const Waiter& waiter = wait(row);
	++item.more;
	item.mode = waiter.mode;
	if (!session(rows_[row].node).masked && waiter.wait_start != 0)
		item.longest = std::max(item.longest, snapshot_.now - waiter.wait_start);
}

// Finds out, from the end, after which items a sibling follows.
void Tree::connect() {
	std::vector<bool> sibling_follows(deepest_ + 1U, false);
	Index level_below = 0;
	for (std::size_t i = items_.size(); i-- > 0;) {
		Item& item = items_[i];
		item.opens = level_below > item.level;
		item.last = !sibling_follows[item.level];
		sibling_follows[item.level] = true;
		std::fill(sibling_follows.begin() + item.level + 1, sibling_follows.end(), false);
		level_below = item.level;
	}
}

void Tree::draw(const Item& item) {
	std::string head, below;
	if (item.level == 0) {
		if (!lines_.empty())
			lines_.emplace_back();
		head = facts(item.row).root ? chars_.root : chars_.top;
	} else {
		rails_.resize(item.level - 1U);
		for (const std::string_view rail : rails_)
			head += rail;
		below = head;
		head += item.last ? chars_.last_branch : chars_.branch;
		rails_.push_back(item.last ? chars_.no_rail : chars_.rail);
		below += rails_.back();
	}
	below += item.opens ? chars_.stem : chars_.no_stem;

	if (item.row != kNone)
		draw_session(item, head, below);
	else
		add_line(head, cut(more_siblings(item), width_ - display_width(head)));
}

void Tree::draw_session(const Item& item, const std::string& head, const std::string& below) {
	lines_.push_back(head + first_line(item, width_ - display_width(head)));

	const std::size_t room = width_ - display_width(below);
	const std::string held_up = blocks(facts(item.row));
	std::string line = lock_line(item.row, room);
	if (!line.empty() && !held_up.empty() && display_width(line) + 2 + held_up.size() <= room)
		line.append("; ").append(held_up);
	else if (!held_up.empty()) {
		add_line(below, cut(line, room));
		line = held_up;
	}
	add_line(below, cut(line, room));
	add_line(below, cut(more_waits(item.row), room));
	const Session& self = session(rows_[item.row].node);
	if (statements_)
		add_line(below, fit(self.masked ? kInsufficientPrivilege : self.query, room));
}

// Nothing for an empty text.
void Tree::add_line(const std::string& indent, const std::string& text) {
	if (!text.empty())
		lines_.push_back(indent + text);
}

// Who it is and what it does. Where both do not fit, names are cut first.
std::string Tree::first_line(const Item& item, std::size_t room) const {
	const ChainRow& row = rows_[item.row];
	const Session& self = session(row.node);
	std::string name;
	if (row.depth > item.level)
		name.append("(level ").append(std::to_string(row.depth)).append(")");
	if (self.pid != 0)
		name.append(name.empty() ? "" : " ").append(std::to_string(self.pid));
	if (const std::string names = who(self); !names.empty())
		name.append(name.empty() ? "" : " ").append(names);

	const std::string what = doing(item.row);
	if (name.empty() || what.empty())
		return cut(name + what, room);
	const std::size_t taken = display_width(what) + 2;
	const std::size_t least = 20;
	name = cut(std::move(name), room > taken + least ? room - taken : least);
	return cut(name.append(": ").append(what), room);
}

std::string Tree::doing(Index row) const {
	const Session& self = session(rows_[row].node);
	if (!facts(row).waits)
		return activity(self, snapshot_.now);
	const Waiter& waiter = wait(row);
	const Session& waiting = session(waiter.session);
	std::string text;
	if (waiter.session != rows_[row].node)
		text.append("parallel worker ").append(std::to_string(waiting.pid)).append(" ");
	else if (!self.masked && self.kind != Kind::client)
		text.append(kind_in_words(self.kind)).append(", ");
	text.append("waits").append(wait_time(self, waiter, snapshot_.now)).append(" for ");
	return text.append(name(waiter.mode));
}

// The lock that it waits for and what stands in the way; the label of the lock is cut where it has to be.
std::string Tree::lock_line(Index row, std::size_t room) const {
	if (!facts(row).waits)
		return {};
	const WaiterFacts& queue = graph_.waiter(facts(row).waiter);
	const Blocker& primary = queue.primary;
	std::string way;
	if (primary.node == kNone)
		way = ", about to be granted";
	else {
		way.append(primary.kind == Blocks::hard ? ", held in " : ", queued behind ");
		way.append(name(primary.mode));
		if (rows_[row].parent == kNone) // a cycle's top: otherwise it stands right above
			way.append(" by ").append(reference(session(primary.node)));
		if (queue.hard_blockers > 1)
			way.append(", and by ").append(std::to_string(queue.hard_blockers - 1)).append(" more");
	}
	const std::size_t label_room = room > way.size() + 3 + 12 ? room - way.size() - 3 : 12;
	return std::string("on ").append(fit(snapshot_.locks[wait(row).lock].label, label_room)).append(way);
}

// A parallel query can wait in several of its processes at once; one of the waits is drawn.
std::string Tree::more_waits(Index row) const {
	const Index waits = graph_.waits_of(rows_[row].node);
	return waits > 1 ? "and waits in " + std::to_string(waits - 1) + " more of its processes" : std::string();
}

std::string Tree::more_siblings(const Item& item) const {
	std::string text(chars_.ellipsis);
	text.append(" and ").append(std::to_string(item.more)).append(" more wait for ").append(name(item.mode));
	if (item.longest >= 0)
		text.append(", longest ").append(duration(item.longest));
	return text;
}

} // namespace

std::vector<std::string> tree(const WaitGraph& graph, std::span<const ChainRow> rows,
                              const RenderOptions& options) {
	return Tree(graph, rows, options).draw();
}

std::vector<Index> rows_drawn(const WaitGraph& graph, std::span<const ChainRow> rows) {
	return Tree(graph, rows, {}).rows_drawn();
}

std::string blocks(const NodeFacts& facts) {
	if (facts.blocked_total == 0)
		return {};
	std::string text = facts.in_cycle ? "deadlock: " : facts.root ? "root blocker: " : "";
	text += "blocks " + std::to_string(facts.blocked_total) + ", frees " + std::to_string(facts.frees);
	return text;
}

} // namespace unblock::core
