"""What a hostile template costs: bounded time, memory and output, a sentence, and a process that goes on serving."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from pylm.errors import TokenizerError
from pylm.tokenizer import chat, renderer

TIME, MEMORY, RECURSION = "more than 0.25 seconds", "more than 1,024 MB of memory", "limit of recursion"
LOOP = "{% set ns = namespace(s='x' * 1000, l=[1]) %}{% for i in range(RANGE) %}BODY{% endfor %}"


def loop(body, times=1000, after=""):
    return LOOP.replace("RANGE", str(times)).replace("BODY", body) + after


HOSTILE = [
    (loop("{% set x %}{{ ns.s }}{{ ns.s }}{% endset %}{% set ns.s = x %}"), "huge string"),
    ("{% macro two(s) %}{{ s }}{{ s }}{% endmacro %}" + loop("{% set ns.s = two(ns.s) %}"), "huge string"),
    (loop("{% set ns.s = ns.s | tojson %}", 60), "huge string|" + MEMORY + "|" + TIME),
    (loop("{% set ns.l = (ns.l, ns.l) | sum(start=[]) %}"), "huge string or list"),
    (loop("{% set ns.l = [ns.l, ns.l] %}", 40, "{{ ns.l }}"), TIME + "|" + MEMORY),
    (loop("{% set ns.l = [ns.l, ns.l] %}", 40, "{{ ns.l | tojson }}"), TIME + "|" + MEMORY),
    (loop("{% set ns.l = [ns.l, ns.l] %}", 40, "{{ ns.l | string }}"), TIME + "|" + MEMORY),
    (loop("{% set ns.l = [ns.l, ns.l] %}", 40, "{{ ns.l | join }}"), TIME + "|" + MEMORY),
    (
        "{% set n = namespace(a=[1], b=[1]) %}{% for i in range(40) %}{% set n.a = [n.a, n.a] %}"
        "{% set n.b = [n.b, n.b] %}{% endfor %}{{ n.a == n.b }}",
        TIME,
    ),
    ("{% set s = 'ab' * 500000 %}{% for i in range(1000000) %}{% set t = s | lower %}{% endfor %}", TIME),
    ("{% set s = 'ab' * 500000 %}{% for i in range(1000000) %}{% if 'ba!' in s %}{% endif %}{% endfor %}", TIME),
    ("{% set s = 'ab' * 500000 %}{% for i in range(1000000) %}{% set t = s | upper %}{% endfor %}", TIME),
    ("{% for i in range(1000000) %}{% set t = range(900000) | sort %}{% endfor %}", TIME),
    ("{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}", RECURSION),
    ("{{ " + "[" * 3000 + "1" + "]" * 3000 + " }}", RECURSION),
    ("{% if 1 %}" * 3000 + "{% endif %}" * 3000, RECURSION),
    ("{% set l = [['x' * 900000] * 900000] * 900 %}{{ l | string }}", MEMORY + "|" + TIME),
    ("{% for i in range(999) %}{{ 'x' * 900000 }}{% endfor %}", "huge string"),
    ("{{ 1" + "0" * 6000 + " }}", "fails"),
    ("{% set a = [1] * 999999 %}" + "".join(f"{{% set a{i} = a + [] %}}" for i in range(300)), MEMORY + "|" + TIME),
]


def render(template):
    return chat.render(template, [{"role": "user", "content": "Hi"}], {}, {}).text


@pytest.mark.parametrize(("template", "said"), HOSTILE, ids=range(len(HOSTILE)))
def test_a_template_that_goes_too_far_is_told_so(template, said, monkeypatch):
    monkeypatch.setattr(renderer, "SECONDS", 0.25)
    with pytest.raises(TokenizerError, match=said) as caught:
        render(template)
    assert "\n" not in caught.value.message and caught.value.hint
    assert render("{{ messages[0].content }}") == "Hi"


def child():
    return renderer._renderer._process.pid


def test_parsing_alone_is_bounded_too():
    for template, said in (HOSTILE[13], HOSTILE[14], HOSTILE[15], ("{{ 1" + "0" * 6000 + " }}", "fails")):
        with pytest.raises(TokenizerError, match=said):
            chat.check_template(template)


def test_one_process_serves_a_conversation():
    render("a")
    serving = child()
    started = time.process_time()
    assert all(render("{{ messages[0].content }}!") == "Hi!" for _ in range(50))
    assert child() == serving and time.process_time() - started < 1


def test_a_process_that_was_killed_is_named_and_replaced():
    render("a")
    serving = child()
    os.kill(serving, signal.SIGSTOP)  # so that it is asked before it is gone
    threading.Timer(0.1, os.kill, (serving, signal.SIGKILL)).start()
    with pytest.raises(TokenizerError, match="ended the process that renders it \\(SIGKILL\\)"):
        render("b")
    assert render("c") == "c" and child() != serving


def test_an_interruption_leaves_no_late_answer(monkeypatch):
    render("a")
    with monkeypatch.context() as patch:
        patch.setattr(renderer, "_received", interrupted)
        with pytest.raises(KeyboardInterrupt):
            render("first")
    assert render("second") == "second"


def interrupted(pipe, until):
    raise KeyboardInterrupt


def test_threads_and_forks_get_their_own_answers():
    wrong = []

    def ask(number):
        for turn in range(20):
            if (got := render(f"{number} {turn}")) != f"{number} {turn}":
                wrong.append(got)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    program = (
        "import os, sys\nfrom pylm.tokenizer import chat\n"
        "render = lambda t: chat.render(t, [], {}, {}).text\nassert render('a') == 'a'\n"
        "child = os.fork()\nmine = 'child' if child == 0 else 'parent'\n"
        "assert all(render(mine) == mine for _ in range(20))\n"
        "if child: sys.exit(os.waitpid(child, 0)[1])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_no_process_is_left_when_its_asker_is_killed():
    program = (
        "import os\nfrom pylm.tokenizer import chat, renderer\nchat.check_template('a')\n"
        "print(renderer._renderer._process.pid, flush=True)\nos.kill(os.getpid(), 9)\n"
    )
    seen = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert seen.returncode == -signal.SIGKILL
    until = time.monotonic() + 20
    while alive(int(seen.stdout)):
        assert time.monotonic() < until
        time.sleep(0.02)


def alive(pid):
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False


def test_memory_is_looked_after_where_the_system_does_not_bound_it():
    program = (
        "from pylm.tokenizer import render_child as child\nchild.MEMORY = 1 << 10\n"  # kB here, so it is at once past
        "child._look_after_memory()\nimport time; time.sleep(9)\n"
    )
    assert subprocess.run([sys.executable, "-c", program], timeout=60).returncode == -signal.SIGXCPU
