// Ends, their lines in the log, and the most that can have been counted.

#include "judge.h"

#include <algorithm>
#include <map>
#include <set>

namespace unblock::stress {

namespace {

// The server cuts the moment at which a line was written to milliseconds.
constexpr Micros kCut = kMillisecond;

std::string limit_text(Micros limit) {
	return limit % kSecond == 0 ? std::to_string(limit / kSecond) + "s"
	                            : std::to_string(limit / kMillisecond) + "ms";
}

std::string name_of(const Life& life) {
	return "pid " + std::to_string(life.pid) + " (" + life.role->name + ")";
}

struct Matched {
	std::vector<End> ends;
	std::vector<std::string> problems;
};

// A signal can cross with a COMMIT, and hit the session when it is in its next transaction already: the
// line names the one that was judged.
Matched match(const Notes& notes, const std::vector<LogLine>& lines) {
	std::map<std::pair<int, std::string>, const Transaction*> transactions;
	for (const Transaction& transaction : notes.transactions())
		transactions[{transaction.life->pid, transaction.xact_start}] = &transaction;
	Matched result;
	std::set<const Life*> told;
	for (const LogLine& line : lines) {
		const auto found = transactions.find({line.pid, line.xact_start});
		const Transaction* transaction = found == transactions.end() ? nullptr : found->second;
		const Micros limit = transaction == nullptr ? 0 : transaction->life->role->limit(line.rule);
		std::string problem;
		if (transaction == nullptr)
			problem = "no such transaction";
		else if (line.action != "terminate" || limit == 0)
			problem = "not what that role is subject to";
		else if (line.limit != limit_text(limit))
			problem = "not the limit of that role";
		else if (transaction->life->ended == 0)
			problem = "that session was not ended";
		else if (!told.insert(transaction->life).second)
			problem = "told twice";
		if (problem.empty())
			result.ends.push_back({transaction, line.rule, limit, line.written, 0});
		else
			result.problems.push_back(problem + ": " + line.text);
	}
	for (const Life& life : notes.lives())
		if (life.ended != 0 && !told.contains(&life))
			result.problems.push_back(name_of(life) + " was ended without a line in the log: " + life.why);
	return result;
}

struct Measured {
	Micros most = 0;          // that can have been counted
	Micros deadline = kNever; // when the limit can have been broken at the earliest
};

Measured measure(const Notes& notes, const Transaction& transaction, const End& end, Micros until) {
	Measured result;
	if (end.rule == kBlockerRule) {
		const std::vector<Interval> intervals = notes.blocking_idle(transaction, until);
		result.most = sum_of(intervals);
		result.deadline = moment_of(intervals, end.limit).value_or(kNever);
		return result;
	}
	for (const Spell& spell : transaction.spells) {
		const Micros length = std::min(spell.end, until) - spell.begin;
		result.most = std::max(result.most, length);
		if (length >= end.limit) // it may have survived an earlier one that was as long
			result.deadline = spell.begin + end.limit;
	}
	return result;
}

struct Verdicts {
	std::vector<std::string> early;   // ended before the limit
	std::vector<std::string> at_work; // ended although the next statement had begun before the limit
	Micros closest = kNever;          // to its limit
	std::vector<Micros> lateness;     // as the client saw it
	std::vector<Micros> crossing;     // from the beginning of the next statement to the log line
};

void judge(const Notes& notes, End& end, Verdicts& verdicts) {
	const Transaction& transaction = *end.transaction;
	const Life& life = *transaction.life;
	// As if there had been no further statement.
	Transaction silent = transaction;
	if (!silent.spells.empty())
		silent.spells.back().end = kNever;
	const Micros last_moment = std::min(life.ended, end.written + kCut);
	const Micros until_end = measure(notes, silent, end, last_moment).most;
	const Micros until_statement = measure(notes, transaction, end, last_moment).most;
	const std::string of_limit = " of " + milliseconds(end.limit) + ", xact_start " + transaction.xact_start;
	if (until_end < end.limit)
		verdicts.early.push_back(name_of(life) + " had had at most " + milliseconds(until_end) + of_limit);
	else if (until_statement < end.limit)
		verdicts.at_work.push_back(name_of(life) + " went on after at most " + milliseconds(until_statement) +
		                           of_limit);
	verdicts.closest = std::min(verdicts.closest, until_end - end.limit);
	end.late = life.ended - std::min(measure(notes, silent, end, life.ended).deadline, life.ended);
	verdicts.lateness.push_back(end.late);
	if (!transaction.spells.empty() && transaction.spells.back().by_server)
		verdicts.crossing.push_back(std::max<Micros>(end.written - transaction.spells.back().end, 0));
}

std::vector<std::string> without_reason(const Notes& notes) {
	std::vector<std::string> problems;
	for (const Life& life : notes.lives())
		if (life.ended != 0 && !life.why.starts_with("25P03:"))
			problems.push_back(name_of(life) + " read " + life.why);
	return problems;
}

} // namespace

std::vector<End> judge_ends(const Notes& notes, const ServerLog& log, Report& report) {
	const auto ended = std::ranges::count_if(notes.lives(), [](const Life& life) { return life.ended != 0; });
	Matched matched = match(notes, log.actions(static_cast<std::size_t>(ended)));
	std::map<std::string, Verdicts> by_rule;
	for (End& end : matched.ends)
		judge(notes, end, by_rule[end.rule]);
	for (const auto& [rule, verdicts] : by_rule) {
		const std::string ends = std::to_string(verdicts.lateness.size()) + " ends by " + rule;
		report.check(ends + ": none was early, the closest by " + milliseconds(verdicts.closest),
		             verdicts.early);
		report.check(ends + ": none of a session that went on before its limit", verdicts.at_work);
		report.distribution("lateness of " + rule, verdicts.lateness);
		report.distribution(
		    "its next statement crossed with the signal and had begun before the log line, by",
		    verdicts.crossing);
	}
	report.check(std::to_string(ended) +
	                 " ends: each is in the log once, for what it was, and nothing else is",
	             matched.problems);
	report.check(std::to_string(ended) + " ends: each client was told so", without_reason(notes));
	return matched.ends;
}

} // namespace unblock::stress
