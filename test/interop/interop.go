// Command interop checks a log that lies in a folder as static files, with nothing but the Go
// checksum database's own packages (golang.org/x/mod/sumdb/note and tlog).
//
//	interop DIR VKEY
//
// It opens DIR/checkpoint with the key, rebuilds the tree from DIR/tile/entries alone, and compares
// root and every tile. Then it checks the proofs in DIR/proofs, one a line:
//
//	inclusion INDEX HASH...
//	consistency OLDSIZE OLDROOT HASH...
//
// and prints its own proofs for the same indexes and sizes in the same form. Any difference is an
// error and exit code 1. Tiles are never trusted: the tile reader of some versions does not check
// them all (CVE-2026-56865).
package main

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const height = 8

type hashes []tlog.Hash

func (h hashes) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, x := range indexes {
		if x >= int64(len(h)) {
			return nil, fmt.Errorf("no stored hash %d", x)
		}
		out[i] = h[x]
	}
	return out, nil
}

func main() {
	if len(os.Args) != 3 {
		fail(fmt.Errorf("usage: interop DIR VKEY"))
	}
	dir := os.Args[1]
	size, root, err := openCheckpoint(dir, os.Args[2])
	fail(err)
	stored, err := rebuild(dir, size)
	fail(err)
	rebuilt, err := tlog.TreeHash(size, stored)
	fail(err)
	if rebuilt != root {
		fail(fmt.Errorf("the entries hash to %v, the checkpoint says %v", rebuilt, root))
	}
	tiles, err := compareTiles(dir, size, stored)
	fail(err)
	fail(checkProofs(dir, size, root, stored))
	fmt.Printf("ok %d leaves %d tiles\n", size, tiles)
}

func openCheckpoint(dir, vkey string) (int64, tlog.Hash, error) {
	var root tlog.Hash
	verifier, err := note.NewVerifier(vkey)
	if err != nil {
		return 0, root, err
	}
	text, err := os.ReadFile(filepath.Join(dir, "checkpoint"))
	if err != nil {
		return 0, root, err
	}
	opened, err := note.Open(text, note.VerifierList(verifier))
	if err != nil {
		return 0, root, err
	}
	lines := strings.Split(opened.Text, "\n")
	if len(lines) != 4 || lines[0] != verifier.Name() {
		return 0, root, fmt.Errorf("checkpoint %q", opened.Text)
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil {
		return 0, root, err
	}
	root, err = tlog.ParseHash(lines[2])
	return size, root, err
}

// pathOf gives the path of C2SP tlog-tiles, which is that of Go without the height.
func pathOf(kind string, n int64, width int) string {
	tile := tlog.Tile{H: height, L: 0, N: n, W: width}.Path()
	return "tile/" + kind + "/" + strings.TrimPrefix(tile, "tile/8/0/")
}

func rebuild(dir string, size int64) (hashes, error) {
	var stored hashes
	for n := int64(0); n*256 < size; n++ {
		width := int64(256)
		if size-n*256 < width {
			width = size - n*256
		}
		data, err := os.ReadFile(filepath.Join(dir, pathOf("entries", n, int(width))))
		if err != nil {
			return nil, err
		}
		for i := int64(0); i < width; i++ {
			if len(data) < 2 || len(data)-2 < int(binary.BigEndian.Uint16(data)) {
				return nil, fmt.Errorf("bundle %d ends in entry %d", n, i)
			}
			end := 2 + int(binary.BigEndian.Uint16(data))
			more, err := tlog.StoredHashes(n*256+i, data[2:end], stored)
			if err != nil {
				return nil, err
			}
			stored = append(stored, more...)
			data = data[end:]
		}
		if len(data) > 0 {
			return nil, fmt.Errorf("bundle %d has %d bytes too many", n, len(data))
		}
	}
	return stored, nil
}

// compareTiles makes every tile that the tree has anew, and expects the folder to hold those alone.
func compareTiles(dir string, size int64, stored hashes) (int, error) {
	expected := map[string]bool{}
	for _, tile := range tlog.NewTiles(height, 0, size) {
		// Go lists a partial tile once for each of its widths on the way.
		if width := size>>(height*tile.L) - tile.N*256; int64(tile.W) < width && tile.W < 256 {
			continue
		}
		path := pathOf(strconv.Itoa(tile.L), tile.N, tile.W)
		want, err := tlog.ReadTileData(tile, stored)
		if err != nil {
			return 0, err
		}
		got, err := os.ReadFile(filepath.Join(dir, path))
		if err != nil {
			return 0, err
		}
		if !bytes.Equal(want, got) {
			return 0, fmt.Errorf("%s differs", path)
		}
		expected[path] = true
		if tile.L == 0 {
			expected[pathOf("entries", tile.N, tile.W)] = true
		}
	}
	err := filepath.WalkDir(filepath.Join(dir, "tile"), func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		relative, err := filepath.Rel(dir, path)
		if err == nil && !expected[relative] {
			err = fmt.Errorf("%s is not a tile of this tree", relative)
		}
		return err
	})
	return len(expected), err
}

func checkProofs(dir string, size int64, root tlog.Hash, stored hashes) error {
	file, err := os.Open(filepath.Join(dir, "proofs"))
	if err != nil {
		return err
	}
	defer file.Close()
	scanner := bufio.NewScanner(file)
	for scanner.Scan() {
		words := strings.Fields(scanner.Text())
		number, err := strconv.ParseInt(words[1], 10, 64)
		if err != nil {
			return err
		}
		given, err := parseHashes(words[2:])
		if err != nil {
			return err
		}
		var own []tlog.Hash
		switch words[0] {
		case "inclusion":
			leaf := stored[tlog.StoredHashIndex(0, number)]
			if err := tlog.CheckRecord(given, size, root, number, leaf); err != nil {
				return err
			}
			own, err = tlog.ProveRecord(size, number, stored)
		case "consistency":
			if err := tlog.CheckTree(given[1:], size, root, number, given[0]); err != nil {
				return err
			}
			own, err = tlog.ProveTree(size, number, stored)
			own = append([]tlog.Hash{given[0]}, own...)
		default:
			err = fmt.Errorf("line %q", scanner.Text())
		}
		if err != nil {
			return err
		}
		fmt.Println(words[0], number, formatHashes(own))
	}
	return scanner.Err()
}

func parseHashes(words []string) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(words))
	for i, word := range words {
		hash, err := tlog.ParseHash(word)
		if err != nil {
			return nil, err
		}
		out[i] = hash
	}
	return out, nil
}

func formatHashes(list []tlog.Hash) string {
	words := make([]string, len(list))
	for i, hash := range list {
		words[i] = base64.StdEncoding.EncodeToString(hash[:])
	}
	return strings.Join(words, " ")
}

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "interop:", err)
		os.Exit(1)
	}
}
