"""Images on servers: S3 and HTTP on loopback, and servers that refuse or do not answer."""

import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
from fixtures.data import make_image_folder
from fixtures.places import paths_under, write_shards
from fixtures.s3 import refusing_server, set_endpoint
from mmengine.dataset import pseudo_collate
from torch.utils.data import DataLoader

from repre_mm.datasets import DatasetError, ImageFolder, open_source

LOAD = [{'type': 'repre_mm.LoadImage'}]


@pytest.fixture
def images(tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    return make_image_folder(tmp_path / 'data', train=4, val=0) / 'train'


def assert_same_images(place, images):
    """Read with one process forked from one that has already read."""
    dataset = ImageFolder(place, labels=False, pipeline=LOAD)
    expected = ImageFolder(images, labels=False, pipeline=LOAD)
    assert (dataset[0]['img'] == expected[0]['img']).all()
    batches = list(DataLoader(dataset, batch_size=2, num_workers=1, collate_fn=pseudo_collate))
    read = [image for batch in batches for image in batch['img']]
    assert len(read) == 4
    assert all((image == expected[index]['img']).all() for index, image in enumerate(read))


def test_s3(images, tmp_path, s3):
    s3.put(images, 'bucket/some/train')
    assert_same_images('s3://bucket/some/train', images)
    assert open_source('s3://bucket/some', 'train').images()[0] == {'img_path': 'dark/0.jpg'}
    (tmp_path / 'shards').mkdir()
    write_shards(images, tmp_path / 'shards/a')
    s3.put(tmp_path / 'shards', 'bucket/shards')
    assert_same_images('s3://bucket/shards/a-{000..001}.tar', images)
    assert_same_images('s3://bucket/shards/*.tar', images)
    (tmp_path / 'list.txt').write_text('\n'.join(f's3://bucket/some/train/{path}' for path in paths_under(images)))
    assert_same_images(tmp_path / 'list.txt', images)
    with pytest.raises(DatasetError, match=r'no images under s3://bucket/none: .*found no files at all'):
        open_source('s3://bucket/none').images()
    with pytest.raises(DatasetError, match=r'there is no s3://bucket/none\.tar'):
        open_source('s3://bucket/none.tar').images()


@pytest.mark.parametrize(('code', 'status'), [('ExpiredToken', 400), ('AccessDenied', 403)])
def test_s3_refuses(monkeypatch, code, status):
    pytest.importorskip('s3fs')
    with refusing_server(code, status) as url:
        set_endpoint(monkeypatch, url)
        with pytest.raises(DatasetError, match=r's3://bucket/images cannot be read: .*Renew or set your credentials'):
            open_source('s3://bucket/images', 'train').images()


def test_s3_does_not_answer(monkeypatch):
    set_endpoint(monkeypatch, 'http://127.0.0.1:1')
    with pytest.raises(DatasetError, match=r's3://bucket/images cannot be read: .*Check the address and the network'):
        open_source('s3://bucket/images').images()


def test_http(images, tmp_path):
    pytest.importorskip('aiohttp')
    write_shards(images, tmp_path / 'a')

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args) -> None:
            pass

    with ThreadingHTTPServer(('127.0.0.1', 0), partial(Quiet, directory=tmp_path)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f'http://127.0.0.1:{server.server_address[1]}'
        lines = [f'{url}/data/train/{path}' for path in paths_under(images)]
        (tmp_path / 'list.txt').write_text('\n'.join(lines))
        assert_same_images(f'{url}/list.txt', images)
        with pytest.raises(DatasetError, match=r'a web server lists no folders\. Name shards'):
            open_source(f'{url}/data').images()
        server.shutdown()


def test_an_unknown_protocol():
    with pytest.raises(DatasetError, match=r'what://x/y cannot be read: ValueError: Protocol not known: what'):
        open_source('what://x/y').images()
