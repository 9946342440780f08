"""What a mapping promises: every field from the column it names, every fault at once."""

from pathlib import Path

import pytest

from imis_core.files import Chunk, ColumnMap, MappingProblem, load_mapping, read_table

MAPPING = """
path = ["Region", "district"]
[columns]
number = "Card No"
sex = "sex"
"identifiers.nid" = "NID"
[constants]
scheme = "hib"
[values.sex]
"male" = "M"
"" = "O"
[attributes]
roof = "Roof"
"""
COLUMNS = {
    "Card No": ["001", "002"],
    "Sex": ["male", None],
    "NID": [None, "77"],
    "region": ["R1", "R1"],
    "District": ["D1", None],
    "Roof": ["tin", None],
    "Not mapped": ["x", "y"],
}


def mapping_of(folder: Path, text: str) -> ColumnMap:
    path = folder / "mapping.toml"
    path.write_text(text)
    return load_mapping(path)


def test_a_mapping_renames_translates_and_gathers(tmp_path: Path) -> None:
    """Fields, constants, values, path, attributes and identifiers come from the columns that the mapping names."""
    mapping = mapping_of(tmp_path, MAPPING)
    mapping.check(COLUMNS, {"number", "sex", "scheme"})
    mapped = mapping.apply(Chunk([4, 9], COLUMNS))
    assert mapped.row_numbers == [4, 9]
    assert mapped.fields == {"number": ["001", "002"], "sex": ["M", "O"], "scheme": ["hib", "hib"]}
    assert mapped.path == [("R1", "D1"), ("R1", None)]
    assert mapped.attributes == [{"roof": "tin"}, {}]
    assert mapped.identifiers == [{}, {"nid": "77"}]


def test_without_a_mapping_columns_fill_the_fields_of_their_names(tmp_path: Path) -> None:
    """Own names count in any case; dotted ones gather attributes and identifiers; other values stay."""
    path = tmp_path / "people.csv"
    path.write_text("Number, BORN,attributes.Roof,Identifiers.NID\n1,1990-01-01,,8\n2,,tin,\n")
    (chunk,) = read_table(path).chunks()
    mapped = ColumnMap().apply(chunk)
    assert mapped.fields == {"number": ["1", "2"], "born": ["1990-01-01", None]}
    assert mapped.path is None
    assert mapped.attributes == [{}, {"Roof": "tin"}]
    assert mapped.identifiers == [{"NID": "8"}, {}]
    assert len(mapped) == 2


def test_values_not_listed_stay(tmp_path: Path) -> None:
    """A translation touches only what it lists."""
    mapping = mapping_of(tmp_path, '[values.sex]\nmale = "M"\n')
    assert mapping.apply(Chunk([1, 2, 3], {"Sex": ["male", "F", None]})).fields == {"sex": ["M", "F", None]}


def test_all_columns_and_fields_that_are_missing_are_named_at_once(tmp_path: Path) -> None:
    """One run shows every fault, with the name that was probably meant."""
    text = 'path = ["Regoin"]\n[columns]\nnumbr = "Card Nr"\n[constants]\nshceme = "x"\n[values.sexx]\na = "b"\n'
    mapping = mapping_of(tmp_path, text)
    with pytest.raises(MappingProblem) as caught:
        mapping.check(["Region", "Card No"], {"number", "scheme", "sex"})
    message = str(caught.value)
    for part in ("'Card No'?", "'Region'?", "'number'?", "'scheme'?", "'sex'?"):
        assert part in message
    assert len(caught.value.faults) == 5
    assert "\n" not in message
    with pytest.raises(MappingProblem):
        mapping.apply(Chunk([1], {"Card No": ["1"]}))


def test_a_field_has_one_source(tmp_path: Path) -> None:
    """A column and a constant for one field contradict each other; values need a column."""
    mapping = mapping_of(tmp_path, '[columns]\nsex = "Sex"\n[constants]\nsex = "F"\n[values.age]\n"1" = "2"\n')
    with pytest.raises(MappingProblem) as caught:
        mapping.check(["Sex"])
    assert len(caught.value.faults) == 2


@pytest.mark.parametrize(
    ("text", "code", "part"),
    [
        ('[colums]\na = "b"\n', "mapping.unknown_table", "'columns'?"),
        ("[columns]\na = 1\n", "mapping.format", "must be text"),
        ('[columns]\nidentifiers.nid = "NID"\n', "mapping.format", '"identifiers.nid"'),
        ('path = "region"\n', "mapping.format", "list"),
        ('values = "x"\n', "mapping.format", "values.FIELD"),
        ("[columns\n", "mapping.format", "no TOML"),
    ],
)
def test_mapping_files_that_cannot_be_read(tmp_path: Path, text: str, code: str, part: str) -> None:
    """What is wrong in a mapping file is said with the way out."""
    with pytest.raises(MappingProblem) as caught:
        mapping_of(tmp_path, text)
    assert caught.value.code == code
    assert part in str(caught.value)


def test_a_mapping_file_that_is_absent(tmp_path: Path) -> None:
    """A missing mapping file has its own code."""
    with pytest.raises(MappingProblem) as caught:
        load_mapping(tmp_path / "absent.toml")
    assert caught.value.code == "mapping.not_found"
