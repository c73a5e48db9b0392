"""The named data sets: their files, where these are published, and the hashes of their content."""

from typing import NamedTuple


class PublishedSet(NamedTuple):
    """A named data set, as its authors publish it.

    Args:
        folder: folder of its files, relative to a data folder.
        address: address of the folder of the files, of a zip archive with the files, or of the only file.
        page: page on which a person finds the files.
        size: size of the download, as text.
        files: their names below `folder`, each with a hash: the SHA-256 of its bytes; "text:" and the SHA-256 of its
            lines, where white space at their ends may differ; "git:" and its SHA-1 as git's blob. None where the bytes
            differ between editions: the reader of the set checks the file.
    """

    folder: str
    address: str
    page: str
    size: str
    files: dict[str, str | None]

    @property
    def addresses(self) -> dict[str, str]:
        """The address of each file, or of the archive that holds it."""
        whole = len(self.files) == 1 or self.address.endswith(".zip")
        return {file: self.address if whole else f"{self.address}/{file}" for file in self.files}


# Repositories are read at one commit, so their content is fixed.
RAW = "https://raw.githubusercontent.com"
PLANETOID = f"{RAW}/kimiyoung/planetoid/af6abf468a772cc055bec88c52e4d6f51b7c37e3/data"
TRIPLES = f"{RAW}/villmow/datasets_knowledge_embedding/9e392453d6804d1f51c13e5650ae58ed48b638d5"
TEXTS = f"{RAW}/yao8839836/text_gcn/962223652e9bb164ac2d83cd09fc7b8845ce860b/data"
SNAP = "https://snap.stanford.edu/data"
GRAPHS = "https://www.chrsmrrs.com/graphkerneldatasets"
MOLECULES = "https://deepchemdata.s3-us-west-1.amazonaws.com/datasets"
# Project Gutenberg's mirror for automatic downloads. Book 815 is in 8/1/815: all digits but the last are folders.
BOOKS = "https://gutenberg.pglaf.org"
PLANETOID_PAGE = "github.com/kimiyoung/planetoid/tree/master/data"
TRIPLES_PAGE = "github.com/villmow/datasets_knowledge_embedding"
TEXTS_PAGE = "github.com/yao8839836/text_gcn/tree/master/data"
SNAP_PAGE = "snap.stanford.edu/data/ego-Facebook.html"
GRAPHS_PAGE = "chrsmrrs.github.io/datasets"
MOLECULES_PAGE = "moleculenet.org"

# fmt: off
PUBLISHED_SETS = {
    "democracy": PublishedSet("books", f"{BOOKS}/8/1/815/815-0.txt", "www.gutenberg.org/ebooks/815", "1.1 MB", {
        "democracy.txt": None,
    }),
    "grimm": PublishedSet("books", f"{BOOKS}/2/5/9/2591/2591-0.txt", "www.gutenberg.org/ebooks/2591", "0.6 MB", {
        "grimm.txt": None,
    }),
    "Cora": PublishedSet("Planetoid/Cora/raw", PLANETOID, PLANETOID_PAGE, "0.6 MB", {
        "ind.cora.x": "23cfa55d91c6f624233f5eb7b6e3f141f1bd2b2ae39608a63cf5d084bb27baab",
        "ind.cora.tx": "b9afbaa4a400df991f6f02ef677e1e44da55ffc04801fd02f9e673987829226a",
        "ind.cora.allx": "9419ba2f26f5c35243db64aba110e0f35a04851609e0dc5433450676ca6b8543",
        "ind.cora.y": "94465c14eb53e04ca262198dcbb2521ee8af60fb3f3d546cd6ca24a511b0e7d1",
        "ind.cora.ty": "41f5ac76596a1699cc33f53084a2419e92961c42bb75f36fc38e616d348532ad",
        "ind.cora.ally": "2b998f5cc7fedc86e7f97ca2498f47a1ffc1462c29e2d578b23bf3f62b6e7d71",
        "ind.cora.graph": "58f13302f39dde8852dad6fe6d15b89b077b6d7f837626bce671ef80344b383d",
        "ind.cora.test.index": "297ce89af2b51a6a194181c7dbe1796c6a1cf9cd9349a88383b1b1e227867875",
    }),
    "CiteSeer": PublishedSet("Planetoid/CiteSeer/raw", PLANETOID, PLANETOID_PAGE, "1.0 MB", {
        "ind.citeseer.x": "d20de19150741e555de0ed037195630fc194114ebc7fd72ced62810148aa22f6",
        "ind.citeseer.tx": "539a8906a2da97628d212f2fdd668c109a8b3f0d36574b59e5d3fd5b5303da21",
        "ind.citeseer.allx": "2ac30345d95c9ec933a817ee0bdd6a5f077f8c184a20e696910192d534414668",
        "ind.citeseer.y": "8ba87e515d8e3ee3cf52f6d2c5b86aa73f11ecad825a808455209ec26cd54924",
        "ind.citeseer.ty": "55e5bd1ba1e733a04598753ad1a8d57957f4b8f89e74519f41f4f4938767e4ce",
        "ind.citeseer.ally": "f704b2d986dde6c2669934de1f3ae5696a6cf9455c0f6b2646a2d135ea0a1c95",
        "ind.citeseer.graph": "d79a4ef9d3e7169aee8946145f6b7306e35bc79bffad26346cfb94e10e9912a7",
        "ind.citeseer.test.index": "2af990671580b6b2df5d158d1038f8292e30c9cd821b5453f399659b25b723d4",
    }),
    "PubMed": PublishedSet("Planetoid/PubMed/raw", PLANETOID, PLANETOID_PAGE, "about 9 MB", {
        "ind.pubmed.x": "fbe9cb5c47200d1b7769a26e579be3b7130b556831f9d850e77c4c74f2599b33",
        "ind.pubmed.tx": "4eb5f5d0f30f26497eb0ac6ac9719d09c67e284f1ed0385c93f3ef27a671da3d",
        "ind.pubmed.allx": "git:3b86bccf08111c37c632a9dd8ab63db25ea76361",
        "ind.pubmed.y": "e6c807633307a07ed659249006536a147c7999c797f11a2560752990181b41b3",
        "ind.pubmed.ty": "ee2e0d4819d9fbcc403689c3bf2e49face401b605932f093bc58ab6461130fdd",
        "ind.pubmed.ally": "0c37bbe3b5014ec365e9d393cf4791925e5ed94fb194305d74f064a8d7b50f0e",
        "ind.pubmed.graph": "5b89f0036ca22909471f1e6558eb42fa06e0c730a577bde5b058b40638f81dc9",
        "ind.pubmed.test.index": "b101d421688bbaecbd82e8a18f1e282378d6830f3a37666f28ebc47f844341b5",
    }),
    "Nations": PublishedSet("KG/nations", f"{TRIPLES}/other/nations", TRIPLES_PAGE, "50 kB", {
        "train.txt": "b923bd0e8393b7cad275ee567b5570886f9ff12426e0b3e84e2af17523281b47",
        "valid.txt": "f3c4bf2a02d29a42fad53a6f91e24100d3d6762b4e0f428999b3267e7526f700",
        "test.txt": "e3c3383b3fc0177b88df073f0680ba6b36f16e4dba87326b64b8821b1c928415",
    }),
    "Kinship": PublishedSet("KG/kinship", f"{TRIPLES}/other/kinship", TRIPLES_PAGE, "0.3 MB", {
        "train.txt": "ef89f322b30dc328f6d87c72cff4ac8a4a1a2126929f85c31a4486632e73c875",
        "valid.txt": "65a2ca576c21282a399735dc1c44eb9349d34fa5621d9a1a6fec35c8709726fc",
        "test.txt": "f6f8440d98758afcdeaf60ad1017fb146daf2a606b0878cf3fc9a94188e3b3ff",
    }),
    "UMLS": PublishedSet("KG/umls", f"{TRIPLES}/other/umls", TRIPLES_PAGE, "0.3 MB", {
        "train.txt": "30202640f8b26be8ba2323361ec8831e9e6882396138ae5ca3bef326e7fb6ded",
        "valid.txt": "4cba113f49a7ae9bd1e43f659649b03486ac66642168f67b41e434d9e133f92d",
        "test.txt": "3d9e6e8722cfbb7b3eb8aa5b77eff3eeda1d86d3b968fe0a0b95c641e1c9c6e4",
    }),
    "WN18RR": PublishedSet("KG/WordNet18RR/raw", f"{TRIPLES}/WN18RR/original", TRIPLES_PAGE, "3.4 MB", {
        "train.txt": "038612e783c215ee5f3ca9fbfca27b8d0739be1028fe4ee7c174aecf0b83d5df",
        "valid.txt": "453ce7202afa58094a04d2b1560ee2b02660f1c260b32ce6651c8ccedd1028ab",
        "test.txt": "0383bceaaa1096cf3c03ec021ed0048068e2355dbfc0239b292cefdac821cec5",
    }),
    "FB15k-237": PublishedSet("KG/FB15k-237/raw", f"{TRIPLES}/FB15k-237", TRIPLES_PAGE, "23.8 MB", {
        "train.txt": "61099230e4439f90885ca9767739e31e8e32f54736fa1c35952b27997bc7c08a",
        "valid.txt": "749cbe9d923bac7b9354da5614ecfed2e0220256d442c3e04a6b303db1f273d9",
        "test.txt": "e2e35e8e6113de220140b6f44dc71a5207b0fc6872d575e874aefe13259b655b",
    }),
    "ego-Facebook": PublishedSet("SNAP", f"{SNAP}/facebook_combined.txt.gz", SNAP_PAGE, "0.2 MB", {
        "facebook_combined.txt": None,
    }),
    "MUTAG": PublishedSet("TUDataset/MUTAG/raw", f"{GRAPHS}/MUTAG.zip", GRAPHS_PAGE, "22 kB", {
        "MUTAG_A.txt": "text:be52707e04063973ce8291ebd16218cdb6595bd0d0147fd9ba6a8d0ef4f8ef87",
        "MUTAG_graph_indicator.txt": "text:f4b33293ace23bb2574ece47425080874d4a3eac002f2f42b218b48c09be9e2c",
        "MUTAG_graph_labels.txt": "text:61a76b08007e68b78c40bcbe6fbc54954ede5b86496ebaa63acbe6f3dad64a1c",
        "MUTAG_node_labels.txt": "text:16984a3e338aa842d6b876cbaaa2547ed56df29e4b868974dc62d6d39d64309c",
        "MUTAG_edge_labels.txt": "text:e365ce2f7a990d365687b95b434ff8f9249a44ac773aa437e68b1b0b9df3ece4",
    }),
    "PROTEINS": PublishedSet("TUDataset/PROTEINS/raw", f"{GRAPHS}/PROTEINS.zip", GRAPHS_PAGE, "0.4 MB", {
        "PROTEINS_A.txt": "text:b34045d46aee09fc6ee97aee44dd120a84e5337b9e0dc60131f3f6983f954842",
        "PROTEINS_graph_indicator.txt": "text:1fe730070c5857cb6041675c3b8ad447ba60c3957959e34957c1174415a67029",
        "PROTEINS_graph_labels.txt": "text:1649c249b5f63f95b1406e620d24cd2c1420c6101f12a2424b11d3a80ae76561",
        "PROTEINS_node_labels.txt": "text:b6e96b4a839a57c5b2a653082d58d4a311e1cb99f658e6733d907324d4f47fcd",
    }),
    "ESOL": PublishedSet("MoleculeNet/esol/raw", f"{MOLECULES}/delaney-processed.csv", MOLECULES_PAGE, "0.1 MB", {
        "delaney-processed.csv": None,
    }),
    "FreeSolv": PublishedSet("MoleculeNet/freesolv/raw", f"{MOLECULES}/SAMPL.csv", MOLECULES_PAGE, "31 kB", {
        "SAMPL.csv": None,
    }),
    "R8": PublishedSet("TextGCN", TEXTS, TEXTS_PAGE, "3.5 MB", {
        "R8.txt": "4ab8362c508bf7b1c591bca4e4d72ff6e9ff7a730a94cb0a5dfddf237a7cc025",
        "corpus/R8.clean.txt": "5324d029f2b625baca68aab4cfd1ed0353b94f11f7a9dd2ccb5b1fa5b86d6541",
    }),
    "R52": PublishedSet("TextGCN", TEXTS, TEXTS_PAGE, "4.4 MB", {
        "R52.txt": "dd0c08ca54cb51be909f309525643fdc235efecf674a91d854306b939badd239",
        "corpus/R52.clean.txt": "e8b0927ccd7434253c1890c41f280677af9a8de29c1b877e9105bfe632a82e6e",
    }),
    "MR": PublishedSet("TextGCN", TEXTS, TEXTS_PAGE, "1.3 MB", {
        "mr.txt": "184c1b3b7f9695174fcf949738a661ba9d798b0e500721d0644daab4d095e134",
        "corpus/mr.clean.txt": "63d474f2a8251d4062697bf81dac5e9fac2a842c946beb1eb2a35729353398f5",
    }),
    "Ohsumed": PublishedSet("TextGCN", TEXTS, TEXTS_PAGE, "7.6 MB", {
        "ohsumed.txt": "724b8ed25eb3d99b90b86fdc4ef5e2450b386ff0ba348afe38f420cd61eccc16",
        "corpus/ohsumed.clean.txt": "400c3f04cb9b9296b7686d762be0d91012205cb78ce3688b37e9c96d0f5e5a20",
    }),
}
# fmt: on
