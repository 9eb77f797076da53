"""Which ground truth belongs to which degraded image, told from their names alone.

A name is the path of a file below the folder of its side, without suffix: `scene/0001_x4`. Rules go from the precise to
the loose, and a name that would fit two partners stays alone: no pair is better than a wrong one.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from gesso.data.folders import natural

Step = Callable[[str, bool], str]
Rule = Callable[[Sequence[str], Sequence[str]], dict[str, str]]
Token = tuple[str, ...]

# Words in the name of a file that say on which side of a pair it is.
LQ_MARKS = (
    r"nois[ey]|real|blur(?:ry|red)?|defocus(?:ed)?|rain(?:y|drop)?|haz[ey]|fog(?:gy)?|snowy?|low(?:[ _-]?light)?|"
    r"dark|under(?:exposed)?|lr(?:bic|bi|bd|dn)?|lq|inputs?|in|degraded|corrupt(?:ed)?|distorted|damaged|dirty|"
    r"compressed|synthetic|syn|shadow|raw|before|source|src"
)
GT_MARKS = (
    r"gt|(?:ground[ _-]?)?truth|mean|sharp|no[ _-]?(?:rain|haze|noise|blur|snow|shadow)|clean|clear|normal|high|bright|"
    r"hr|hq|targets?|reference|ref|labels?|after|outputs?|out|original|orig|pristine|(?:shadow[ _-]?)?free|retouched"
)
SCALE = r"(?i)[\W_]*(?:bic(?:ubic)?[\W_]*)?(?:(?:lr|hr)(?:bic|bi|bd|dn)?[\W_]*)?(?:x[1-9]\d?|(?<=[lh]r)[2-9])$"
SETTING = r"(?i)[\W_]+(?:iso|sigma|noise|qf?|quality|jpe?g|crf|level)[\W_]?\d+(?:\.\d+)?$"


# ------------------------------------------------------------------------------------------------------ matching


def match(lq: Sequence[str], gt: Sequence[str], rules: Sequence[Rule] | None = None) -> dict[str, str]:
    """Which ground truth belongs to which degraded image: the first rule that explains at least half of a side decides.

    Where none does, names that are equal are pairs all the same, and the others are not.

    Example:
        >>> match(["1400_1", "1400_2", "1401_1"], ["1400", "1401"])
        {'1400_1': '1400', '1400_2': '1400', '1401_1': '1401'}
    """
    for rule in rules or RULES:
        matches = rule(lq, gt)
        if matches and (2 * len(matches) >= len(lq) or 2 * len(set(matches.values())) >= len(gt)):
            return matches
    return {} if rules else same(lq, gt)


def match_template(template: str, lq: Sequence[str], gt: Sequence[str], *, one_folder: bool = False) -> dict[str, str]:
    """Which ground truth belongs to which degraded image, whose name is said in terms of the former's.

    Of several ground truths that an input fits, such as `1` and `12` for `12_3` and `{gt}*`, it is the longest.

    Args:
        template: `{gt}` stands for the ground truth's name (or `{}`, as in BasicSR), `*` for any text and `?` for any
            letter. With a `/` it is about paths, else about names, in folders that are called alike on both sides.
        lq: names of degraded images.
        gt: names of ground truths.
        one_folder: whether names on both sides are of one folder, so that none is its own partner.

    Example:
        >>> match_template("{gt}_s*", ["1_s80", "12_s80", "x"], ["1", "12"])
        {'1_s80': '1', '12_s80': '12'}
    """
    template = template.replace("\\", "/")  # as Windows writes paths; names here have slashes
    paths, known = "/" in template, set(gt)
    lead, *others = (_pattern(part, paths) for part in re.split(r"\{(?:gt)?\}", template))
    matches = {}
    for name in lq:
        folder, slash, stem = ("", "", name) if paths else name.rpartition("/")
        starts = [i for i in range(len(stem)) if re.fullmatch(lead, stem[:i])]
        parts = {stem[i:j] for i in starts for j in range(i + 1, len(stem) + 1) if folder + slash + stem[i:j] in known}
        found = [part for part in parts if re.fullmatch(re.escape(part).join((lead, *others)), stem)]
        if one_folder and stem in found:
            found.remove(stem)
        if found:
            matches[name] = folder + slash + max(found, key=len)
    return matches


def _pattern(part: str, paths: bool) -> str:
    """A part of a template as a regular expression; without paths `*` stays within a name."""
    text = ".*" if paths else "[^/]*"
    return re.escape(part).replace(r"\*", text).replace(r"\?", ".")


def tell_apart(files: Sequence[Path]) -> list[str]:
    """What files are called: their names without suffix, with as many folders, and suffixes, as tell all apart.

    Example:
        >>> tell_apart([Path("set/a.png"), Path("set/b.png")])
        ['a', 'b']
        >>> tell_apart([Path("set/one/a.png"), Path("set/two/a.png")])
        ['one/a', 'two/a']
        >>> tell_apart([Path("set/a.png"), Path("set/a.jpg")])
        ['a.png', 'a.jpg']
    """
    for spelt in ([file.with_suffix("") for file in files], files):
        for depth in range(1, max((len(file.parts) for file in files), default=0) + 1):
            names = ["/".join(path.parts[-depth:]) for path in spelt]
            if len({*names}) == len(files):
                return names
    return [file.as_posix() for file in files]


# --------------------------------------------------------------------------------------------------------- rules


@dataclass(frozen=True)
class Key:
    """The rule that partners have one key, which steps make of their names; folders stay as they are.

    Attributes:
        steps: what is done to a name, one after another; they are told whether it is a degraded image's.
        many: whether several degraded images may belong to one ground truth.
    """

    steps: tuple[Step, ...] = ()
    many: bool = False

    def key(self, name: str, degraded: bool) -> str:
        """What partners have in common."""
        folder, slash, stem = name.rpartition("/")
        for step in self.steps:
            stem = step(stem, degraded)
        return folder + slash + stem

    def __call__(self, lq: Sequence[str], gt: Sequence[str]) -> dict[str, str]:
        """The matches under this rule; names whose partner would be ambiguous stay alone."""
        keys = {name: self.key(name, True) for name in lq}
        partners = {self.key(name, False): name for name in gt}
        clashes = {key for key, count in Counter(self.key(name, False) for name in gt).items() if count > 1}
        if not self.many:
            clashes |= {key for key, count in Counter(keys.values()).items() if count > 1}
        return {name: partners[key] for name, key in keys.items() if key in partners and key not in clashes}


def fold_case(stem: str, degraded: bool) -> str:
    """`IMG_01` and `img_01`."""
    return stem.casefold()


def drop_marks(stem: str, degraded: bool) -> str:
    """`blur_01` and `sharp_01`, `x_real` and `x_mean`, `x_NOISY_010` and `x_GT_010`, `1rain` and `1ground_truth`."""
    stem = re.sub(mark_pattern(LQ_MARKS if degraded else GT_MARKS), "", stem)
    return re.sub(r"[\W_]+", "_", stem).strip("_")


def drop_scale(stem: str, degraded: bool) -> str:
    """`babyx2` and `baby`, `DSC_0983_x4` and `DSC_0983_x1`, `0001_bicLRx4` and `0001`, `a_LR4` and `a_HR`."""
    return re.sub(SCALE, "", stem)


def drop_setting(stem: str, degraded: bool) -> str:
    """`x_ISO3200` and `x_ISO100`."""
    return re.sub(SETTING, "", stem)


def drop_exposure(stem: str, degraded: bool) -> str:
    """`00001_00_0.1s` belongs to `00001_00_10s`: many short exposures to one long one."""
    return re.sub(r"_\d+_[\d.]+s$", "", stem)


def drop_zeros(stem: str, degraded: bool) -> str:
    """`1` and `0001`."""
    return re.sub(r"\d+", lambda number: str(int(number[0])), stem)


def keep_first_part(stem: str, degraded: bool) -> str:
    """`a2917-jmac_input` and `a2917-retouched`: what stands before the first hyphen (MIT-Adobe FiveK)."""
    return stem.partition("-")[0]


def mark_pattern(marks: str) -> str:
    """A regular expression for words that stand alone, or beside figures."""
    return rf"(?i)(?<![a-z])(?:{marks})(?![a-z])"


same = Key()


def longest_prefix(lq: Sequence[str], gt: Sequence[str], *, loose: bool = False) -> dict[str, str]:
    """`1400_3` and `1400`, `im_0001_s80_a04` and `im_0001`: the longest unique truth that begins the name.

    Names are compared word by word and number by number, so `12` does not begin `123`; if `loose`, without case, marks
    of sides, and zeros before numbers.
    """
    truths: dict[Token, list[str]] = defaultdict(list)
    for name in gt:
        truths[_tokens(name, False, loose)].append(name)
    inputs = {name: _tokens(name, True, loose) for name in lq}
    count = Counter(inputs.values())
    matches = {}
    for name, words in inputs.items():
        beginnings = (words[:length] for length in range(len(words), 1, -1))  # the first is the folder
        longest = next((truths[words] for words in beginnings if words in truths), [])
        if len(longest) == count[words] == 1:
            matches[name] = longest[0]
    return matches


longest_prefix_loosely: Rule = partial(longest_prefix, loose=True)


def input_begins_truth(lq: Sequence[str], gt: Sequence[str]) -> dict[str, str]:
    """`0001` and `0001_expertC`: the unique truth whose name begins with the input's, one for each."""
    return _inverted(longest_prefix(gt, lq))


def common_words_dropped(lq: Sequence[str], gt: Sequence[str]) -> dict[str, str]:
    """`foo_1_a`, `foo_2_a` and `bar1`, `bar2`: what all names of a side begin or end with says nothing.

    Only where each name has a partner then.
    """
    if len(lq) != len(gt) or len(lq) < 2:
        return {}
    keys = dict(zip(lq, _own_words(lq, True), strict=True))
    partners = {key: name for name, key in zip(gt, _own_words(gt, False), strict=True)}
    if set(keys.values()) != set(partners) or len(partners) < len(gt):
        return {}
    return {name: partners[key] for name, key in keys.items()}


def next_shot(lq: Sequence[str], gt: Sequence[str]) -> dict[str, str]:
    """`1P0A0917` and `1P0A0916`: a camera's numbers, one for each side in turn, each pair without a gap (DPDD)."""
    inputs, names = set(lq), sorted({*lq, *gt}, key=natural)
    if len(lq) != len(gt) or len(names) < 2 * len(lq):
        return {}
    matches, order = {}, set()
    for one, other in zip(names[::2], names[1::2], strict=True):
        first, second = (re.fullmatch(r"(.*?)(\d+)(\D*)", name) for name in (one, other))
        if not first or not second or first[1] != second[1] or int(second[2]) - int(first[2]) != 1:
            return {}
        order.add((one in inputs, other in inputs))
        matches |= {one: other} if one in inputs else {other: one}
    return matches if order in ({(True, False)}, {(False, True)}) else {}


def folder_is_truth(lq: Sequence[str], gt: Sequence[str]) -> dict[str, str]:
    """`IMG_12/3` and `IMG_12`: a folder of degraded images for each ground truth (LFDOF, SICE)."""
    truths = set(gt)
    return {name: folder for name in lq if (folder := name.rpartition("/")[0]) in truths}


def one_truth_a_folder(lq: Sequence[str], gt: Sequence[str]) -> dict[str, str]:
    """All degraded images of a folder belong to the one ground truth in it (RENOIR), but not those of the root."""
    truths: dict[str, list[str]] = defaultdict(list)
    for name in gt:
        truths[name.rpartition("/")[0]].append(name)
    found = {name: truths.get(folder, []) for name in lq if (folder := name.rpartition("/")[0])}
    return {name: there[0] for name, there in found.items() if len(there) == 1}


def without_folders(rule: Rule) -> Rule:
    """A rule on names without folders, where one side has but one and the other has others: `part1/5_0.8` and `5`."""

    def match_flat(lq: Sequence[str], gt: Sequence[str]) -> dict[str, str]:
        folders = [{name.rpartition("/")[0] for name in names} for names in (lq, gt)]
        if folders[0] & folders[1] or not (
            {""} in folders or sorted(map(len, folders))[0] == 1 < max(map(len, folders))
        ):
            return {}
        sides = [{name.rpartition("/")[2]: name for name in names} for names in (lq, gt)]
        if (len(sides[0]), len(sides[1])) != (len(lq), len(gt)):
            return {}
        return {sides[0][name]: sides[1][truth] for name, truth in rule(list(sides[0]), list(sides[1])).items()}

    return match_flat


def _inverted(matches: dict[str, str]) -> dict[str, str]:
    """Matches the other way round, of those that are matched once."""
    count = Counter(matches.values())
    return {value: key for key, value in matches.items() if count[value] == 1}


def _tokens(name: str, degraded: bool, loose: bool) -> Token:
    """The folder of a name, then its words and numbers."""
    folder, _, stem = name.rpartition("/")
    if loose:
        stem = drop_zeros(drop_marks(fold_case(stem, degraded), degraded), degraded)
    return (folder, *re.findall(r"[^\W\d_]+|\d+", stem))


def _own_words(names: Sequence[str], degraded: bool) -> list[Token]:
    """The words and numbers of names, less those that all of them begin or end with; folders stay."""
    rows = [_tokens(name, degraded, True) for name in names]
    shortest = min(len(row) for row in rows)
    first, last = 1, 0
    while first < shortest and len({row[first] for row in rows}) == 1:
        first += 1
    while last < shortest - first and len({row[-1 - last] for row in rows}) == 1:
        last += 1
    return [(row[0], *row[first : len(row) - last]) for row in rows]


EXACT: tuple[Rule, ...] = (
    same,
    Key((fold_case,)),
    Key((fold_case, drop_marks)),
    Key((fold_case, drop_scale)),
    Key((fold_case, drop_scale, drop_marks)),
    Key((drop_exposure,), many=True),
    longest_prefix,
)
RULES: tuple[Rule, ...] = (
    *EXACT,
    Key((fold_case, drop_scale, drop_marks, drop_setting)),
    Key((fold_case, drop_scale, drop_marks, drop_zeros)),
    Key((keep_first_part,)),
    longest_prefix_loosely,
    input_begins_truth,
    folder_is_truth,
    *(without_folders(rule) for rule in EXACT),
    common_words_dropped,
    next_shot,
)
