"""Downloads, from a server on this machine: checked before they get their names."""

import gzip
import hashlib
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from recbole_genrec import GenRecError
from recbole_genrec.interactions.converter import amazon, convert, movielens
from recbole_genrec.interactions.converter.download import fetch
from recbole_genrec.interactions.converter.raw_dump import Download


@pytest.fixture
def server():
    """A web server; ``files`` maps paths to contents, ``lengths`` may lie about them, ``asked`` lists the requests."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            made.asked.append(self.path)
            if self.path not in made.files:
                self.send_error(404)
                return
            content = made.files[self.path]
            self.send_response(200)
            if (length := made.lengths.get(self.path, len(content))) is not None:
                self.send_header("Content-Length", str(length))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *args):
            pass

    made = HTTPServer(("127.0.0.1", 0), Handler)
    made.files, made.lengths, made.asked = {}, {}, []
    made.address = f"http://127.0.0.1:{made.server_port}/"
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield made
    made.shutdown()
    thread.join()
    made.server_close()


def md5(content):
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


CONTENT = gzip.compress(b"some lines\n" * 100)


class TestFetch:
    def test_with_a_published_sum(self, server, tmp_path):
        server.files = {"/a.zip": b"anything", "/a.zip.md5": f"MD5 (a.zip) = {md5(b'anything')}\n".encode()}
        path = fetch(Download(server.address + "a.zip"), tmp_path / "new")
        assert path == tmp_path / "new/a.zip"
        assert path.read_bytes() == b"anything"
        assert list(path.parent.iterdir()) == [path]

    def test_with_a_known_sum(self, server, tmp_path):
        server.files = {"/a.gz": CONTENT}
        fetch(Download(server.address + "a.gz", md5=md5(CONTENT)), tmp_path)
        assert server.asked == ["/a.gz"]

    def test_what_is_there_is_not_fetched(self, server, tmp_path):
        (tmp_path / "a.gz").write_bytes(b"mine")
        assert fetch(Download(server.address + "a.gz"), tmp_path).read_bytes() == b"mine"
        assert not server.asked

    def test_without_a_length(self, server, tmp_path):
        server.files, server.lengths = {"/a.gz": CONTENT}, {"/a.gz": None}
        assert fetch(Download(server.address + "a.gz"), tmp_path).read_bytes() == CONTENT

    @pytest.mark.parametrize(
        ("files", "lengths", "known", "message"),
        [
            ({"/a.gz": CONTENT, "/a.gz.md5": b"0" * 32}, {}, "", "the MD5 sum is .*, not 000"),
            ({"/a.gz": CONTENT}, {}, "1" * 32, "the MD5 sum is .*, not 111"),
            ({"/a.gz": CONTENT}, {"/a.gz": len(CONTENT) + 5}, "", "bytes came instead of"),
            ({"/a.gz": CONTENT}, {"/a.gz": 1 << 60}, "", "has 1,152,921,504,606,846,976 bytes, more than the disk"),
            ({"/a.gz": CONTENT[:-9]}, {}, "", "what came is damaged"),
            ({"/a.gz": b"<html>moved</html>"}, {}, "", "what came is damaged"),
            ({}, {}, "", "Cannot fetch .*a.gz to .*a.gz: Not Found"),
        ],
    )
    def test_a_failed_check_leaves_nothing(self, server, tmp_path, files, lengths, known, message):
        server.files, server.lengths = files, lengths
        with pytest.raises(GenRecError, match=message):
            fetch(Download(server.address + "a.gz", md5=known), tmp_path)
        assert not list(tmp_path.iterdir())

    def test_a_damaged_zip(self, server, tmp_path, ml_zip, ratings_csv):
        data = bytearray(ml_zip.read_bytes())
        data[data.index(b"ratings.csv") + 20] ^= 0xFF
        server.files = {"/ml-25m.zip": bytes(data)}
        with pytest.raises(GenRecError, match="what came is damaged"):
            fetch(Download(server.address + "ml-25m.zip"), tmp_path / "new")

    def test_no_server(self, tmp_path):
        with pytest.raises(GenRecError, match="Cannot fetch http://127.0.0.1:9/a.gz"):
            fetch(Download("http://127.0.0.1:9/a.gz"), tmp_path)


class TestConvert:
    def test_movielens(self, server, tmp_path, monkeypatch, ml_zip):
        monkeypatch.setattr(movielens, "ADDRESS", server.address)
        server.files = {"/ml-32m.zip": ml_zip.read_bytes()}
        assert convert("ml-32m", output=tmp_path / "out", download=True).interactions == 3
        assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["ml-32m", "ml-32m.zip"]
        server.asked.clear()
        convert("ml-32m", output=tmp_path / "out", download=True)
        assert not server.asked

    def test_amazon_fetches_what_is_missing(self, server, tmp_path, monkeypatch, write_lines):
        for name in ("review_folder", "metadata_folder"):
            monkeypatch.setitem(amazon.EDITIONS["amazon14"].__dict__, name, server.address)
        record = {"reviewerID": "U1", "asin": "B1", "overall": 5, "unixReviewTime": 1}
        reviews = write_lines(tmp_path / "raw/reviews_Beauty.json.gz", [record])
        metadata = write_lines(tmp_path / "served/meta_Beauty.json.gz", ["{'asin': 'B1', 'title': 'Soap'}"])
        server.files = {"/meta_Beauty.json.gz": metadata.read_bytes()}
        for source in (reviews, reviews.parent):
            assert convert("amazon14-beauty", source, tmp_path / "out", download=True).described == 1
        assert server.asked == ["/meta_Beauty.json.gz", "/meta_Beauty.json.gz.md5"]
