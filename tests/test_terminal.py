from perceivers.terminal import natural, printable, say, say_rows


def test_nothing_in_a_line_steers_a_terminal(capsys):
    line = "\x1b[2J\x1b]0;title\x07 \r over \n next \x9b31m \u202eback \u2028 \ud800 é 😀 ×"
    say(line)
    shown = capsys.readouterr().err
    assert shown.count("\n") == 1
    assert shown.rstrip("\n") == printable(line)
    assert shown.rstrip("\n").isprintable()
    assert shown.endswith("é 😀 ×\n")


def test_ordinary_lines_stay_as_they_are():
    for line in ("", "a.csv, row 3: 'x'", "café – 東京 👩\u200d🚀"):
        assert printable(line) == line


def test_names_are_in_the_order_that_people_expect():
    names = ["10", "9", "a 2", "a 10", "01", "1", "-1", "b", "", "2 a", "2"]
    assert sorted(names, key=natural) == ["", "01", "1", "2", "2 a", "9", "10", "-1", "a 2", "a 10", "b"]


def test_of_many_rows_the_first_are_named_in_their_order_and_the_others_counted(capsys):
    say_rows("left out", {row: f"row {row + 1}" for row in (9, 3, 0, 7, 5, 2, 4)})
    shown = capsys.readouterr().err.splitlines()
    assert shown == [*(f"left out: row {i}" for i in (1, 3, 4, 5, 6)), "left out: … and 2 more rows"]
