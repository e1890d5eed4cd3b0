// What a session remembers of its own transaction: which of its statements took which lock.
//
// statement_hooks.cpp says when; this finds out what a statement has locked, and
// writes it into the session's trail, whose image it publishes for others.
#pragma once

#include "compat.h"

namespace unblock::server {

// Whether this process keeps a trail, and runs a client's message in a transaction block. (Client sessions
// have slots, their parallel workers have not.) All that follows is for such a moment only. To be asked at
// the begin of each block.
bool is_recording();

// The place of a statement in the client's message, and what the server knows of it.
struct Source {
	TimestampTz at;   // when the message came
	const char* text; // of the message
	int place;        // in it; -1: all of it, or not known
	int length;       // 0: to the end
	uint64 query_id;
};

// What follows belongs to this statement. Its text must live until end_statement(), or until it goes on with
// another copy of the text.
void begin_statement(const Source& source);
void continue_statement(const char* text);
void end_statement();

// Which locks it takes is known at its end. May raise an error, as all that notes anything.
void run_statement();

// The relations that a plan names, and rows there that it may lock. The plan is ready to run: the parser, the
// planner or the plan cache has locked the relations. `runs`: it is not for EXPLAIN only.
void note_planned(const PlannedStmt* plan, bool runs);

// What a plan that has run has opened beside: partitions that rows went to, what foreign keys point at.
void note_opened(const EState* state);

// What the parser has locked: for a query, or for that inside of a utility statement (analyze.c,
// transformStmt()).
void note_parsed(Query* query);
void note_analyzed(const Node* statement);

// That the transaction, or the savepoint's level, has written.
void note_write();

// All locks on relations that are held and not known to the trail: as the present statement's, or as nobody
// knows whose.
void note_held();
void note_unexplained();

// The present statement stands for those before it in the transaction, which were not seen: nobody knows what
// they have locked.
void end_unseen();

// Makes what has changed visible to others.
void publish_trail();

// From the callbacks of xact.c, in any process.
void release_level();
void roll_back_level();
void forget_transaction();

} // namespace unblock::server
