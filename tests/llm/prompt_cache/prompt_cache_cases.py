"""What Anthropic's prompt cache charges, case by case: each step is a request and the bill that it must get.

Prompts are written as `prompt_cache_steps` says: parts between bars, blocks ``name=tokens``, breakpoints ``@5m``.
Unless a step names another, the model is Claude Sonnet 5, which caches 1,024 tokens or more.
"""

from __future__ import annotations

from prompt_cache_steps import NEVER, sent

_LONG = "S=2000@5m | Q=50"
_THREE = "T=2000@5m | S=1000@5m | M=500@5m Q=50"
_ALL = {"w5": 3500, "new": 50}

CASES = {
    # --- order: tools, system, messages; a breakpoint covers all before it
    "order: without a breakpoint nothing is cached": [
        sent(0, "S=2000 | Q=50", new=2050, dollars=0.0041),
        sent(1, "S=2000 | Q=50", new=2050),
    ],
    "order: without a breakpoint nothing is read either, although it is held": [
        sent(0, _LONG, w5=2000, new=50),
        sent(1, "S=2000 | Q=50", new=2050),
        sent(2, _LONG, read=2000, new=50),
    ],
    "order: a breakpoint on tools caches the tools alone": [
        sent(0, "T=2000@5m | S=500 | Q=50", w5=2000, new=550, dollars=0.0061),
        sent(1, "T=2000@5m | Other=500 | R=60", read=2000, new=560, dollars=0.00152),
    ],
    "order: a breakpoint on system covers the tools": [
        sent(0, "T=900 | S=500@5m | Q=50", w5=1400, new=50),
        sent(1, "T=900 | S=500@5m | R=60", read=1400, new=60),
    ],
    "order: a breakpoint in messages covers tools and system": [
        sent(0, "T=900 | S=500 | D=600@5m Q=50", w5=2000, new=50),
        sent(1, "T=900 | S=500 | D=600@5m R=60", read=2000, new=60),
    ],
    "order: the same block in system and in messages is not the same prefix": [
        sent(0, "S=2000@5m | Q=50", w5=2000, new=50),
        sent(1, "S=2000@5m Q=50", w5=2000, new=50),
    ],
    "order: the same blocks in another order are another prefix": [
        sent(0, "A=1000 B=1000@5m | Q=50", w5=2000, new=50),
        sent(1, "B=1000 A=1000@5m | Q=50", w5=2000, new=50),
    ],
    "order: a change in the first block voids all behind it": [
        sent(0, "A=10 B=2000@5m | Q=50", w5=2010, new=50),
        sent(1, "Z=10 B=2000@5m | Q=50", w5=2010, new=50),
    ],
    "order: a prefix of what was written is not itself an entry": [
        sent(0, "A=1500 B=500@5m | Q=50", w5=2000, new=50),
        sent(1, "A=1500@5m C=500 | Q=50", w5=1500, new=550),
    ],
    "order: four breakpoints are four entries, each read alone": [
        sent(0, "T=1100@5m | S=100@5m | D=100@5m H=100@5m Q=50", w5=1400, new=50),
        sent(1, "T=1100@5m | S=100@5m | D=100@5m I=100@5m Q=50", read=1300, w5=100, new=50),
        sent(2, "T=1100@5m | S=100@5m | E=100@5m H=100@5m Q=50", read=1200, w5=200, new=50),
        sent(3, "T=1100@5m | R=100@5m | D=100@5m H=100@5m Q=50", read=1100, w5=300, new=50),
    ],
    "order: an empty block is a block: with it the prefix is another": [
        sent(0, "A=1100 B=100@5m | Q=50", w5=1200, new=50),
        sent(1, "A=1100 Empty=0 B=100@5m | Q=50", w5=1200, new=50),
    ],
    "order: a tool call and a tool result of equal content are not the same": [
        sent(0, "S=1500 | call:X=500@5m Q=50", w5=2000, new=50),
        sent(1, "S=1500 | result:X=500@5m Q=50", w5=2000, new=50),
        sent(2, "S=1500 | call:X=500@5m R=60", read=2000, new=60),
    ],
    # --- minimum: per breakpoint, by model; below it no error and both counters 0
    "minimum: a token below it nothing is cached, without an error": [
        sent(0, "S=1023@5m | Q=50", new=1073),
        sent(1, "S=1023@5m | Q=50", new=1073),
    ],
    "minimum: with just as many tokens it is cached": [
        sent(0, "S=1024@5m | Q=50", w5=1024, new=50),
        sent(1, "S=1024@5m | Q=50", read=1024, new=50),
    ],
    "minimum: a long prompt does not help a short marked prefix": [
        sent(0, "S=800@5m | Q=5000", new=5800),
        sent(1, "S=800@5m | Q=5000", new=5800),
    ],
    "minimum: an inner breakpoint below it is no entry, the outer one above it is": [
        sent(0, "S=500@5m D=1000@5m | Q=50", w5=1500, new=50),
        sent(1, "S=500@5m D=1000@5m | Q=50", read=1500, new=50),
        sent(2, "S=500@5m E=1000@5m | Q=50", w5=1500, new=50),
    ],
    "minimum: an inner 1h breakpoint below it makes nothing dearer": [
        sent(0, "S=500@1h D=1000@5m | Q=50", w5=1500, new=50, dollars=0.00385),
    ],
    "minimum: tools count towards it": [
        sent(0, "T=600 | S=600@5m | Q=50", w5=1200, new=50),
    ],
    "minimum: each model has its own": [
        sent(0, "S=2000@5m | Q=50", new=2050, model="claude-haiku-4-5"),
        sent(1, "S=2000@5m | Q=50", w5=2000, new=50, model="claude-opus-4-8"),
        sent(2, "S=600@5m | Q=50", w5=600, new=50, model="claude-sonnet-5-5"),
        sent(3, "S=2047@5m | Q=50", new=2097, model="claude-opus-4-7"),
    ],
    # --- look-back: 20 positions, the breakpoint's own included
    "look-back: a conversation reads what the turn before wrote": [
        sent(0, "S=1100 | Q1=50@5m", w5=1150),
        sent(9, "S=1100 | Q1=50 A1=100 Q2=40@5m", read=1150, w5=140, dollars=0.00058),
        sent(20, "S=1100 | Q1=50 A1=100 Q2=40 A2=90 Q3=30@5m", read=1290, w5=120),
    ],
    "look-back: an entry 19 blocks before the breakpoint is found": [
        sent(0, "B1=2000@5m", w5=2000),
        sent(1, "B1=2000 B2..20=10@5m", read=2000, w5=190),
    ],
    "look-back: an entry 20 blocks before the breakpoint is not": [
        sent(0, "B1=2000@5m", w5=2000),
        sent(1, "B1=2000 B2..21=10@5m", w5=2200),
    ],
    "look-back: a second breakpoint on the way brings it within reach": [
        sent(0, "B1=2000@5m", w5=2000),
        sent(1, "B1=2000 B2..10=10@5m B11..30=10@5m Q=50", read=2000, w5=290, new=50),
    ],
    "look-back: each breakpoint has 20 positions of its own, from system into messages": [
        sent(0, "S=2000@5m | Q=50", w5=2000, new=50),
        sent(1, "S=2000@5m | B1..40=10@5m", read=2000, w5=400),
    ],
    "look-back: the longest entry within it is read": [
        sent(0, "A=2000@5m B=100@5m Q=50", w5=2100, new=50),
        sent(1, "A=2000 B=100 C=10@5m", read=2100, w5=10),
    ],
    "look-back: past a changed block it finds what stands before": [
        sent(0, "A=2000@5m B=100@5m Q=50", w5=2100, new=50),
        sent(1, "A=2000 X=100 C=10@5m", read=2000, w5=110),
    ],
    "look-back: a run of tool results is one position": [
        sent(0, "B1=2000@5m", w5=2000),
        sent(1, "B1=2000 result:R1..30=10 B2..19=10@5m", read=2000, w5=480),
    ],
    "look-back: tool calls and tool results are two runs": [
        sent(0, "B1=2000@5m", w5=2000),
        sent(1, "B1=2000 call:C1..9=10 result:R1..9=10 B2..19=10@5m", w5=2360),
    ],
    "look-back: a run that text breaks up is two": [
        sent(0, "B1=2000@5m", w5=2000),
        sent(1, "B1=2000 call:C1..9=10 Text=10 call:D1..9=10 B2..18=10@5m", w5=2360),
    ],
    "look-back: an entry within a run is found": [
        sent(0, "B1=2000 result:R1..5=10@5m", w5=2050),
        sent(1, "B1=2000 result:R1..30=10 B2..20=10@5m", read=2050, w5=440),
    ],
    # --- mixed TTLs: read, then 1h, then 5m, then plain
    "ttl: 1h, then 5m, then the rest": [
        sent(0, "S=2000@1h | D=500@5m Q=50", w1=2000, w5=500, new=50, dollars=0.00935),
    ],
    "ttl: up to the last of two 1h breakpoints": [
        sent(0, "T=1500@1h | S=500@1h | D=300@5m Q=50", w1=2000, w5=300, new=50),
    ],
    "ttl: a hit, 1h, 5m and the rest in one bill": [
        sent(0, "T=1500@1h | S=500 | Q=50", w1=1500, new=550),
        sent(1, "T=1500@1h | S=500@1h | D=300@5m Q=50", read=1500, w1=500, w5=300, new=50, dollars=0.00315),
    ],
    "ttl: after five minutes the 1h part is read and the 5m part written again": [
        sent(0, "S=2000@1h | D=500@5m Q=50", w1=2000, w5=500, new=50),
        sent(301, "S=2000@1h | D=500@5m Q=50", read=2000, w5=500, new=50),
    ],
    "ttl: a hit beyond a 1h breakpoint leaves nothing to pay there, and nothing written": [
        sent(0, "S=2000 | D=500@5m Q=50", w5=2500, new=50),
        sent(1, "S=2000@1h | D=500@5m Q=50", read=2500, new=50),
        sent(2, "S=2000@1h | E=500@5m Q=50", w1=2000, w5=500, new=50),
    ],
    "ttl: a 5m breakpoint reads what was written for 1h, and keeps it for 1h": [
        sent(0, "S=2000@1h | Q=50", w1=2000, new=50),
        sent(400, "S=2000@5m | Q=50", read=2000, new=50),
        sent(3999, "S=2000@5m | Q=50", read=2000, new=50),
    ],
    "ttl: a 1h breakpoint reads what was written for 5m, and keeps it for 5m": [
        sent(0, "S=2000@5m | Q=50", w5=2000, new=50),
        sent(200, "S=2000@1h | Q=50", read=2000, new=50),
        sent(500, "S=2000@1h | Q=50", w1=2000, new=50),
    ],
    "ttl: one prefix written for 5m and for 1h at once lives as long as the longer": [
        sent(0, "S=2000@5m | Q=50", w5=2000, new=50, begins=2),
        sent(1, "S=2000@1h | Q=50", w1=2000, new=50, begins=3),
        sent(3600, "S=2000@5m | Q=50", read=2000, new=50),
    ],
    # --- time: from the request's start, renewed by reads
    "expiry: just before five minutes it is read": [
        sent(0, _LONG, w5=2000, new=50),
        sent(299.999, _LONG, read=2000, new=50),
    ],
    "expiry: after five minutes it is gone": [
        sent(0, _LONG, w5=2000, new=50),
        sent(300, _LONG, w5=2000, new=50),
    ],
    "expiry: an hour, and no longer": [
        sent(0, "S=2000@1h | Q=50", w1=2000, new=50, dollars=0.0081),
        sent(3599.999, "S=2000@1h | Q=50", read=2000, new=50, dollars=0.0005),
        sent(7199.999, "S=2000@1h | Q=50", w1=2000, new=50),
    ],
    "renewal: each read gives five more minutes, for the price of a read": [
        sent(0, _LONG, w5=2000, new=50),
        sent(299, _LONG, read=2000, new=50, dollars=0.0005),
        sent(598, _LONG, read=2000, new=50, dollars=0.0005),
        sent(897, _LONG, read=2000, new=50, dollars=0.0005),
        sent(1197, _LONG, w5=2000, new=50, dollars=0.0051),
    ],
    "renewal: requests that read past a marked prefix keep it warm": [
        sent(0, "S=2000@5m | D=500@5m Q=50", w5=2500, new=50),
        sent(200, "S=2000@5m | D=500@5m R=50", read=2500, new=50),
        sent(400, "S=2000@5m | E=500@5m Q=50", read=2000, w5=500, new=50),
    ],
    "renewal: requests that read past an unmarked prefix do not": [
        sent(0, "S=2000@5m | D=500@5m Q=50", w5=2500, new=50),
        sent(200, "S=2000 | D=500@5m R=50", read=2500, new=50),
        sent(400, "S=2000@5m | E=500@5m Q=50", w5=2500, new=50),
    ],
    "renewal: the time runs from the request's start, not from its response's": [
        sent(0, _LONG, w5=2000, new=50, begins=20),
        sent(301, _LONG, w5=2000, new=50),
    ],
    "renewal: a response that begins after its TTL leaves nothing": [
        sent(0, _LONG, w5=2000, new=50, begins=300),
        sent(300, _LONG, w5=2000, new=50),
    ],
    # --- concurrency: an entry is readable once the response that wrote it begins
    "concurrency: first requests side by side all write": [
        sent(0.0, _LONG, w5=2000, new=50, begins=1.0),
        sent(0.1, _LONG, w5=2000, new=50, begins=1.1),
        sent(0.2, _LONG, w5=2000, new=50, begins=0.9),
        sent(1.2, _LONG, read=2000, new=50),
    ],
    "concurrency: until just before the response begins, from when it does": [
        sent(0.0, _LONG, w5=2000, new=50, begins=1.0),
        sent(0.999, _LONG, w5=2000, new=50, begins=NEVER),
        sent(1.0, _LONG, read=2000, new=50),
    ],
    "concurrency: a request whose response never begins leaves nothing": [
        sent(0, _LONG, w5=2000, new=50, begins=NEVER),
        sent(10, _LONG, w5=2000, new=50),
    ],
    "concurrency: of two that write, the later keeps it longer": [
        sent(0, _LONG, w5=2000, new=50, begins=8),
        sent(5, _LONG, w5=2000, new=50, begins=9),
        sent(304, _LONG, read=2000, new=50),
    ],
    "concurrency: a warm prefix is read while what follows is written twice": [
        sent(0, "S=2000@1h | Q=50", w1=2000, new=50),
        sent(10, "S=2000@1h | D=500@5m Q=50", read=2000, w5=500, new=50, begins=12),
        sent(11, "S=2000@1h | D=500@5m R=50", read=2000, w5=500, new=50, begins=13),
    ],
    "concurrency: between the end of a first write and the begin of a second nothing is read": [
        sent(0, _LONG, w5=2000, new=50, begins=298),
        sent(297, _LONG, w5=2000, new=50, begins=500),
        sent(400, _LONG, w5=2000, new=50, begins=NEVER),
        sent(500, _LONG, read=2000, new=50),
    ],
    "concurrency: when the 1h write has run out, the 5m one is renewed by five minutes": [
        sent(0, "S=2000@1h | Q=50", w1=2000, new=50, begins=3590),
        sent(3500, _LONG, w5=2000, new=50, begins=3595),
        sent(3700, _LONG, read=2000, new=50),
        sent(4000, _LONG, w5=2000, new=50),
    ],
    # --- isolation
    "isolation: another model has to write again, and the first still reads": [
        sent(0, _LONG, w5=2000, new=50),
        sent(1, _LONG, w5=2000, new=50, model="claude-sonnet-4-6", dollars=0.00765),
        sent(2, _LONG, read=2000, new=50),
        sent(3, _LONG, read=2000, new=50, model="claude-sonnet-4-6", dollars=0.00075),
    ],
    "isolation: another workspace sees nothing of it": [
        sent(0, _LONG, w5=2000, new=50, workspace="one"),
        sent(1, _LONG, w5=2000, new=50, workspace="two"),
        sent(2, _LONG, read=2000, new=50, workspace="one"),
    ],
    # --- invalidation
    "invalidation: a change in tools voids everything": [
        sent(0, _THREE, **_ALL),
        sent(1, "U=2000@5m | S=1000@5m | M=500@5m Q=50", **_ALL),
    ],
    "invalidation: a change in system leaves the tools": [
        sent(0, _THREE, **_ALL),
        sent(1, "T=2000@5m | Z=1000@5m | M=500@5m Q=50", read=2000, w5=1500, new=50),
    ],
    "invalidation: web search voids system and messages": [
        sent(0, _THREE, **_ALL),
        sent(1, _THREE, web_search=True, read=2000, w5=1500, new=50),
    ],
    "invalidation: citations void system and messages": [
        sent(0, _THREE, **_ALL),
        sent(1, _THREE, citations=True, read=2000, w5=1500, new=50),
    ],
    "invalidation: the speed setting voids system and messages": [
        sent(0, _THREE, **_ALL),
        sent(1, _THREE, speed="fast", read=2000, w5=1500, new=50),
    ],
    "invalidation: tool_choice voids messages": [
        sent(0, _THREE, **_ALL),
        sent(1, _THREE, tool_choice="any", read=3000, w5=500, new=50),
    ],
    "invalidation: images void messages": [
        sent(0, _THREE, **_ALL),
        sent(1, _THREE, images=True, read=3000, w5=500, new=50),
    ],
    "invalidation: thinking settings void messages": [
        sent(0, _THREE, **_ALL),
        sent(1, _THREE, thinking="budget 2048", read=3000, w5=500, new=50),
        sent(2, _THREE, thinking="budget 4096", read=3000, w5=500, new=50),
    ],
    "invalidation: set back, the first entries are read again": [
        sent(0, _THREE, **_ALL),
        sent(1, _THREE, speed="fast", read=2000, w5=1500, new=50),
        sent(2, _THREE, read=3500, new=50),
    ],
    "invalidation: web search voids system also where there are no tools": [
        sent(0, _LONG, w5=2000, new=50),
        sent(1, _LONG, w5=2000, new=50, web_search=True),
        sent(2, _LONG, read=2000, new=50, tool_choice="any"),
    ],
    # --- prewarming: max_tokens 0 is a request like any other
    "prewarm: a request for no output warms the system prompt for those that follow": [
        sent(0, "S=2000@5m | Warm=1", w5=2000, new=1, begins=0.4, dollars=0.005002),
        sent(1, "S=2000@5m | Q=50", read=2000, new=50, begins=1.5),
        sent(1, "S=2000@5m | R=60", read=2000, new=60, begins=1.5),
    ],
    "prewarm: repeated in time it keeps an entry alive": [
        sent(0, "S=2000@5m | Warm=1", w5=2000, new=1),
        sent(290, "S=2000@5m | Warm=1", read=2000, new=1),
        sent(580, "S=2000@5m | Q=50", read=2000, new=50),
    ],
    # --- bands: the whole prompt sets the price, what is read from the cache included
    "bands: 100,000 tokens are still in the cheap band": [
        sent(0, "S=90000@5m | Q=10000", w5=90000, new=10000, model="claude-haiku-5-5", dollars=0.01225),
        sent(1, "S=90000@5m | R=10000", read=90000, new=10000, model="claude-haiku-5-5", dollars=0.0019),
    ],
    "bands: one more, mostly read, and every token is dear": [
        sent(0, "S=90000@5m | Q=10001", w5=90000, new=10001, model="claude-haiku-5-5", dollars=0.0612505),
        sent(1, "S=90000@5m | R=10001", read=90000, new=10001, model="claude-haiku-5-5", dollars=0.0095005),
    ],
    "bands: a cache read is not a tenth on every model": [
        sent(0, "S=600@1h | Q=50", w1=600, new=50, model="claude-fable-5-1", dollars=0.0125),
        sent(1, "S=600@1h | Q=50", read=600, new=50, model="claude-fable-5-1", dollars=0.00065),
    ],
}
