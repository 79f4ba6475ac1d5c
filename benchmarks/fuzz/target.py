"""What a fuzzed reader is, and what may come of a case."""

from collections import Counter

from recbole_genrec.errors import GenRecError

#: what a good end of a case is called: the result is right, rows were left out and reported, or our own error.
RIGHT, REPORTED, REFUSED = "right", "reported", "refused"


class Target:
    """One reader of the package, and an independent idea of what it should make of its input.

    Args:
        folder: an empty folder of its own.
    """

    #: what the summary calls it.
    name: str
    #: how often it comes, beside the others.
    share = 1

    def __init__(self, folder):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        #: the input of the case, for the one who looks for its fault: texts or bytes by name.
        self.input = {}
        #: texts of which an error must name one: the file, a key.
        self.places = ()

    def case(self, draw):
        """Make an input from ``draw``, a ``random.Random``, have it read, and compare.

        Returns:
            :data:`RIGHT` or :data:`REPORTED`.

        Raises:
            GenRecError: the input is refused.
            AssertionError: the result is wrong.
        """
        raise NotImplementedError

    def run(self, draw):
        """As :meth:`case`; :data:`REFUSED` for an error of the package, which must name a place.

        Raises:
            Exception: a finding.
        """
        self.input, self.places = {}, ()
        try:
            return self.case(draw)
        except GenRecError as error:
            message = str(error)
            assert message.strip() and any(str(place) in message for place in self.places), (
                f"the error names none of {list(map(str, self.places))}: {message[:500]}"
            )
            assert len(message) < 3_000, f"the message is {len(message)} characters long: {message[:500]}..."
            return REFUSED


class Tally:
    """Counts of a target's outcomes, and its findings."""

    def __init__(self):
        self.outcomes, self.findings = Counter(), []

    @property
    def cases(self):
        return self.outcomes.total()
